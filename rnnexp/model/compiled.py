"""Runs a network with compiled recurrent layers (`kernel`): the same layers and weights, another implementation.

The saved model has the stock layers; the compiled form serves to train and measure it on a CPU.
"""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from rnnexp.config.trial import TrialConfig
from rnnexp.model.build import TokenInput, network, recurrent_layer_names
from rnnexp.model.cells import Cell, cell
from rnnexp.model.kernel.inputs import Embedding, StateDropout
from rnnexp.model.kernel.recurrence import Recurrence
from rnnexp.model.kernel.team import Team

_LAYER_SETTINGS: dict[str, object] = {"go_backwards": False, "dropout": 0.0}
"""Settings of a layer that the loops of no cell compute otherwise."""

_NO_SEED = np.zeros(2, np.int32)


def supports(layer: Any, cell: Cell) -> bool:
    """Tells whether the compiled loops of a cell compute what a layer does."""
    if cell.loops is None or type(layer) is not type(cell.layer(1, 0.0, "reference")):
        return False
    settings = layer.get_config()
    expected = {**_LAYER_SETTINGS, **cell.loops.layer_settings}
    return all(settings.get(name, value) == value for name, value in expected.items())


def logits(model: keras.Model, config: TrialConfig, n_outputs: int, team: Team | None = None) -> Callable[..., Any]:
    """Returns a function `(tokens, training=)` from (B, T) to logits (B, n_outputs), with the weights of the model.

    Args:
        model: as `build` returns it.
        config: its settings.
        n_outputs: width of its head.
        team: the threads of the compiled layers; without it there is one.

    Raises:
        ValueError: if the compiled loops do not compute what a recurrent layer of the model does.
    """
    of_config = cell(config.model.cell)
    recurrences = {}
    for name in recurrent_layer_names(config):
        if not supports(model.get_layer(name), of_config):
            raise ValueError(
                f"layer {name} cannot run compiled: the loops of {config.model.cell} compute another layer"
            )
        recurrences[name] = Recurrence(of_config, team)
    runner = _CompiledRunner(model, recurrences)
    return lambda tokens, training: network(tokens, config, n_outputs, runner, training)


class _CompiledRunner:
    """A `Runner` over the layers of an existing model."""

    def __init__(self, model: keras.Model, recurrences: Mapping[str, Recurrence]) -> None:
        self._model, self._recurrences = model, recurrences

    def layer(self, name: str, make: Callable[[], Any]) -> Any:
        return self._model.get_layer(name)

    def read(self, layer: Any, inputs: Any, lengths: Any, training: bool | None, *, return_sequences: bool) -> Any:
        given = inputs.tokens if isinstance(inputs, TokenInput) else inputs
        n_words = tf.shape(given)[1] if lengths is None else lengths[:, 0]
        n_words = tf.broadcast_to(n_words, tf.shape(given)[:1])
        rate = getattr(layer, "recurrent_dropout", 0.0) if training else 0.0
        seed = _next_seed(layer.cell) if rate else _NO_SEED
        run = _LayerRun(self._recurrences[layer.name], bool(training), return_sequences, rate, seed)
        return run(inputs, n_words, [tf.convert_to_tensor(weight) for weight in layer.weights])


def _next_seed(layer: Any) -> Any:
    """Returns the seed of a layer with dropout for this step, (2,), and advances its generator."""
    return tf.cast(layer.seed_generator.next(), tf.int32)


class _LayerRun:
    """A layer's computation over one batch, as a TensorFlow operation with a gradient."""

    def __init__(
        self, recurrence: Recurrence, learn: bool, return_sequences: bool, state_rate: float, state_seed: Any
    ) -> None:
        self._recurrence, self._learn, self._return_sequences = recurrence, learn, return_sequences
        self._state_rate, self._state_seed = state_rate, state_seed

    def __call__(self, inputs: Any, lengths: Any, weights: list[Any]) -> Any:
        """Returns (B, H) or (B, T, H) from `TokenInput` or vectors, their lengths (B,), and the layer's weights."""
        from_tokens = isinstance(inputs, TokenInput)
        rate = inputs.dropout.rate if from_tokens and inputs.dropout is not None and self._learn else 0.0
        seed = _next_seed(inputs.dropout) if rate else _NO_SEED
        tokens = inputs.tokens if from_tokens else tf.zeros([0], tf.int32)

        def forward(tokens: Any, seed: Any, state_seed: Any, lengths: Any, source: Any, *weights: Any) -> Any:
            dropout = StateDropout(self._state_rate, state_seed) if self._state_rate else None
            given, embedding = (tokens, Embedding(source, rate, seed)) if from_tokens else (source, None)
            return self._recurrence.forward(
                *(given, lengths, embedding, weights),
                learn=self._learn,
                return_sequences=self._return_sequences,
                dropout=dropout,
            )

        def backward(gradient: Any) -> Any:
            result = self._recurrence.backward(gradient)
            return result.inputs, result.rows, result.kernel, result.recurrent, result.bias

        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def run(source: Any, *weights: Any) -> Any:
            given = [tokens, seed, self._state_seed, lengths, source, *weights]
            result = tf.numpy_function(forward, given, tf.float32)
            units = weights[1].shape[0]
            result.set_shape([None, None, units] if self._return_sequences else [None, units])

            def gradients(gradient: Any) -> Any:
                dtypes = [tf.float32, tf.int32, tf.float32, tf.float32, tf.float32]
                values, rows, *d_weights = tf.numpy_function(backward, [gradient], dtypes)
                for value, weight in zip(d_weights, weights, strict=True):
                    value.set_shape(weight.shape)
                values.set_shape([None, *source.shape[1:]])
                rows.set_shape([None])
                shape = tf.constant(source.shape.as_list()) if from_tokens else None
                return tf.IndexedSlices(values, rows, shape) if from_tokens else values, *d_weights

            return result, gradients

        return run(tf.convert_to_tensor(inputs.embedding.embeddings) if from_tokens else inputs, *weights)
