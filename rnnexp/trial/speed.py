"""How long one small recurrent training step takes on each device; run as a program, it prints that as JSON.

A process of its own, for whoever asks need not have TensorFlow, and a plug-in that crashes takes nothing else along.
"""

import json
import time
from typing import Any

_BATCH, _LENGTH, _EMBEDDING, _UNITS = 64, 100, 32, 32
_WARM_UP, _STEPS = 2, 5


def main() -> None:
    """Prints a line `{device: milliseconds or why it gives none}` for every logical device."""
    import tensorflow as tf

    for device in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(device, True)
    found: dict[str, float | str] = {}
    for device in tf.config.list_logical_devices():
        if device.device_type in ("CPU", "GPU"):
            name = device.name.removeprefix("/device:")
            try:
                found[name] = _step_ms(tf, device.name)
            except (tf.errors.OpError, RuntimeError, ValueError) as error:
                found[name] = " ".join(str(error).split())[:160]
    print(json.dumps(found), flush=True)  # noqa: T201 - what the program is for


def _step_ms(tf: Any, device: str) -> float:
    """Returns the median milliseconds of a training step of GRU(32), (64, 100, 32) → (64, 32)."""
    import keras

    with tf.device(device):
        layer = keras.layers.GRU(_UNITS)
        inputs = tf.random.stateless_normal([_BATCH, _LENGTH, _EMBEDDING], seed=(1, 2))
        layer.build(inputs.shape)

        @tf.function(autograph=False)  # type: ignore[untyped-decorator]
        def step() -> Any:
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(layer(inputs)))
            for weight, gradient in zip(
                layer.trainable_weights, tape.gradient(loss, layer.trainable_weights), strict=True
            ):
                weight.assign_sub(0.01 * gradient)
            return loss

        taken = []
        for _ in range(_WARM_UP + _STEPS):
            began = time.perf_counter()
            float(step())
            taken.append(time.perf_counter() - began)
    return round(1000 * sorted(taken[_WARM_UP:])[_STEPS // 2], 3)


if __name__ == "__main__":
    main()
