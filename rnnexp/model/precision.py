"""Mixed precision in training steps. Evaluation, the saved model and every export compute in float32."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from rnnexp.model.build import LOGITS


@contextlib.contextmanager
def computing_in(precision: str, model: keras.Model) -> Iterator[None]:
    """Within the block, the layers of a model compute as a Keras dtype policy says; its weights keep their type.

    A TensorFlow function that is traced in the block keeps that for all its calls. The head computes in float32, as
    Keras recommends, so logits and losses do too.

    Args:
        precision: `train.precision`, which is the name of a policy.
        model: as `build` returns it.
    """
    layers = [part for layer in model.layers if layer.name != LOGITS for part in _with_cell(layer)]
    former = [layer.dtype_policy for layer in layers]
    try:
        for layer in layers:
            layer.dtype_policy = precision
        yield
    finally:
        for layer, policy in zip(layers, former, strict=True):
            layer.dtype_policy = policy


def _with_cell(layer: Any) -> list[Any]:
    """Returns a layer and, if it is recurrent, its cell, which has a policy of its own."""
    return [layer, layer.cell] if hasattr(layer, "cell") else [layer]
