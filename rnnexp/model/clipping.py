"""Optimizers whose gradients are whole before anything bounds them.

Keras clips an embedding's gradient as it arrives, a list of rows in which a repeated word has several, and adds them
up afterwards: the bound does not hold for the sum that is applied. Here the rows are added first. Each kind then means
what the literature says (Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks",
ICML 2013, for the norms), and how often it fired is counted.
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


def whole(gradient: Any) -> Any:
    """Returns a gradient as one dense tensor: the rows of a repeated word are summed."""
    return tf.convert_to_tensor(gradient)


def clip(gradients: list[Any], kind: str, threshold: float | None) -> tuple[list[Any], Any, Any]:
    """Bounds whole gradients.

    Args:
        gradients: dense tensors, one a variable.
        kind: `none`, `value` (each entry), `norm` (each variable's norm) or `global_norm` (the norm of all).
        threshold: the bound; not used for `none`.

    Returns:
        The bounded gradients; the norm of all before it, a scalar; whether anything was bounded, 0 or 1.
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
    """Overrides the public `apply` of a stock optimizer; the counters are read once an epoch."""

    clip_config: ClipConfig

    def count_clipping(self, config: ClipConfig) -> None:
        """Sets what bounds the gradients and makes the counters."""
        self.clip_config = config
        self.n_steps = tf.Variable(0.0, trainable=False)
        self.n_fired = tf.Variable(0.0, trainable=False)
        self.norm_sum = tf.Variable(0.0, trainable=False)

    def apply(self, grads: list[Any], trainable_variables: Any = None) -> None:
        config = self.clip_config
        clipped, norm, fired = clip([whole(gradient) for gradient in grads], config.kind, config.threshold)
        self.n_steps.assign_add(1.0)
        self.n_fired.assign_add(fired)
        self.norm_sum.assign_add(norm)
        super().apply(clipped, trainable_variables)  # type: ignore[misc]

    def read_clipping(self) -> dict[str, float]:
        """Returns the share of steps in which clipping fired and the mean norm before it, and begins anew."""
        n_steps = max(1.0, float(self.n_steps))
        result = {"clip_rate": float(self.n_fired) / n_steps, "grad_norm": float(self.norm_sum) / n_steps}
        for counter in (self.n_steps, self.n_fired, self.norm_sum):
            counter.assign(0.0)
        return result


def optimizer(train: TrainConfig, clipping: ClipConfig) -> Any:
    """Returns the stock optimizer of `train.optimizer`, made to clip whole gradients and to count.

    The object is a `keras.Optimizer` with `read_clipping()`; Keras' own clip arguments are never passed.
    """
    stock = _STOCK[train.optimizer]
    made = type(f"Clipping{stock.__name__}", (_Clipping, stock), {})(learning_rate=train.learning_rate)
    made.count_clipping(clipping)
    return made
