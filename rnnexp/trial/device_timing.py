"""Times one small recurrent training step on each device. As a program, it prints the times as JSON.

It runs in a separate process: the caller then needs no TensorFlow, and survives the crash of a plug-in.
"""

import json
import time
from typing import Any

_SETTINGS: dict[str, Any] = {
    "model.cell": "gru",
    "model.units": 32,
    "model.embedding_dim": 32,
    "data.vocab_size": 2000,
    "data.maxlen": 100,
    "train.batch_size": 64,
}
_WARM_UP, _STEPS = 2, 5


def main() -> None:
    """Prints one line of JSON: for every logical device the milliseconds, or the error."""
    import tensorflow as tf

    for device in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(device, True)
    results: dict[str, float | str] = {}
    for device in tf.config.list_logical_devices():
        if device.device_type in ("CPU", "GPU"):
            name = device.name.removeprefix("/device:")
            try:
                results[name] = _step_ms(tf, device.name)
            except (tf.errors.OpError, RuntimeError, ValueError) as error:
                results[name] = " ".join(str(error).split())[:160]
    print(json.dumps(results), flush=True)  # noqa: T201 - the output of the program


def _step_ms(tf: Any, device: str) -> float:
    """Returns the median milliseconds of a training step of a small network, computed as in a trial."""
    import keras

    from rnnexp.config.trial import TrialConfig
    from rnnexp.model import compiled
    from rnnexp.model.build import build, logits_of

    config = TrialConfig().with_settings(_SETTINGS)
    with tf.device(device):
        keras.utils.set_random_seed(0)
        model = build(config, 1, "sigmoid")
        logits = logits_of(model) if "GPU" in device else compiled.logits(model, config, 1)
        shape = [config.train.batch_size, config.data.maxlen]
        tokens = tf.random.stateless_uniform(shape, (1, 2), 1, config.data.vocab_size, tf.int32)

        @tf.function(autograph=False)  # type: ignore[untyped-decorator]
        def step() -> Any:
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(logits(tokens, training=True)))
            weights = model.trainable_weights
            for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
                weight.assign_sub(0.01 * tf.convert_to_tensor(gradient))
            return loss

        times = []
        for _ in range(_WARM_UP + _STEPS):
            start = time.perf_counter()
            float(step())
            times.append(time.perf_counter() - start)
    return round(1000 * sorted(times[_WARM_UP:])[_STEPS // 2], 3)


if __name__ == "__main__":
    main()
