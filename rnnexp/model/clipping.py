"""Optimizers that clip dense gradients.

The gradient of an embedding is a list of rows, in which a repeated word has several. Keras clips these rows and adds
them afterwards, so the bound does not hold for the sum that is applied. Here the rows are added first. Each kind then
has its meaning in the literature (Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural
networks", ICML 2013, for the norms). The steps that clip are counted.
"""

from typing import Any

import keras
import tensorflow as tf

from rnnexp.config.trial import ClipConfig, TrainConfig

_STOCK = {
    "rmsprop": keras.optimizers.RMSprop,
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "sgd": keras.optimizers.SGD,
}


def dense(gradient: Any) -> Any:
    """Returns a gradient as one dense tensor; the rows of a repeated word are added."""
    return tf.convert_to_tensor(gradient)


def clip(gradients: list[Any], kind: str, threshold: float | None) -> tuple[list[Any], Any, Any]:
    """Clips gradients.

    Args:
        gradients: dense tensors, one for each variable.
        kind: `none`, `value` (each entry), `norm` (the norm of each variable) or `global_norm` (the norm of all).
        threshold: the bound; not used for `none`.

    Returns:
        The clipped gradients; the global norm before clipping, a scalar; whether anything was clipped, 0 or 1.
    """
    squares = [tf.reduce_sum(tf.square(gradient)) for gradient in gradients]
    norm = tf.sqrt(tf.add_n(squares))
    if kind == "none" or threshold is None:
        return gradients, norm, tf.zeros_like(norm)
    if kind == "value":
        largest = tf.reduce_max(tf.stack([tf.reduce_max(tf.abs(gradient)) for gradient in gradients]))
        clipped = [tf.clip_by_value(gradient, -threshold, threshold) for gradient in gradients]
        return clipped, norm, tf.cast(largest > threshold, norm.dtype)
    norms = [tf.sqrt(square) for square in squares] if kind == "norm" else [norm] * len(gradients)
    clipped = [
        gradient * (threshold / tf.maximum(bound, threshold)) for gradient, bound in zip(gradients, norms, strict=True)
    ]
    return clipped, norm, tf.cast(tf.reduce_max(tf.stack(norms)) > threshold, norm.dtype)


class _Clipping:
    """Overrides the public `apply` of a stock optimizer. Its counters are read once per epoch."""

    clip_config: ClipConfig

    def set_up_clipping(self, config: ClipConfig) -> None:
        """Sets the clipping and creates the counters."""
        self.clip_config = config
        self.n_steps = tf.Variable(0.0, trainable=False)
        self.n_fired = tf.Variable(0.0, trainable=False)
        self.norm_sum = tf.Variable(0.0, trainable=False)

    def apply(self, grads: list[Any], trainable_variables: Any = None) -> None:
        config = self.clip_config
        clipped, norm, fired = clip([dense(gradient) for gradient in grads], config.kind, config.threshold)
        self.n_steps.assign_add(1.0)
        self.n_fired.assign_add(fired)
        self.norm_sum.assign_add(norm)
        super().apply(clipped, trainable_variables)  # type: ignore[misc]

    def read_clipping(self) -> dict[str, float]:
        """Returns the share of steps that were clipped and the mean norm before clipping; resets the counters."""
        n_steps = max(1.0, float(self.n_steps))
        result = {"clip/rate": float(self.n_fired) / n_steps, "clip/grad_norm": float(self.norm_sum) / n_steps}
        for counter in (self.n_steps, self.n_fired, self.norm_sum):
            counter.assign(0.0)
        return result


def optimizer(train: TrainConfig, clipping: ClipConfig) -> Any:
    """Returns the stock optimizer of `train.optimizer` with clipping of dense gradients and counters.

    The object is a `keras.Optimizer` with `read_clipping()`; Keras' own clip arguments are never passed.
    """
    stock = _STOCK[train.optimizer]
    decay = {} if train.weight_decay is None else {"weight_decay": train.weight_decay}
    built = type(f"Clipping{stock.__name__}", (_Clipping, stock), {})(learning_rate=train.learning_rate, **decay)
    built.set_up_clipping(clipping)
    return built
