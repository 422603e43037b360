"""Runs a network with its recurrent layers compiled (`kernel`): the same layers, the same weights, other arithmetic.

The network that is saved is the stock one; this is only how it is trained and measured on a CPU.
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from rnnexp.config.trial import TrialConfig
from rnnexp.model.build import TokenInput, last, network, vectors
from rnnexp.model.kernel import Recurrence, Table

_STOCK = {keras.layers.SimpleRNN: "simple_rnn", keras.layers.LSTM: "lstm", keras.layers.GRU: "gru"}
_AS_COMPILED = {
    "activation": "tanh",
    "recurrent_activation": "sigmoid",
    "use_bias": True,
    "reset_after": True,
    "go_backwards": False,
    "dropout": 0.0,
    "recurrent_dropout": 0.0,
}


def supports(layer: Any) -> bool:
    """Tells whether a layer computes what the kernel does."""
    settings = layer.get_config()
    return type(layer) in _STOCK and all(settings.get(name, value) == value for name, value in _AS_COMPILED.items())


def logits(model: keras.Model, config: TrialConfig, n_outputs: int, threads: int) -> Callable[..., Any]:
    """Returns a function `(tokens, training=)` from (B, T) to logits (B, n_outputs), over the model's own weights.

    Layers that the kernel does not know run as Keras runs them.

    Args:
        model: as `build` makes it.
        config: its settings.
        n_outputs: width of its head.
        threads: for the kernel.
    """
    runner = _Compiled(model, threads)
    return lambda tokens, training: network(tokens, config, n_outputs, runner, training)


class _Compiled:
    """A `Runner` over the layers of a model that is there."""

    def __init__(self, model: keras.Model, threads: int) -> None:
        self._model = model
        self._recurrences = {
            layer.name: Recurrence(_STOCK[type(layer)], threads) for layer in model.layers if supports(layer)
        }

    def layer(self, name: str, make: Callable[[], Any]) -> Any:
        return self._model.get_layer(name)

    def read(self, layer: Any, inputs: Any, lengths: Any, training: bool | None, *, return_sequences: bool) -> Any:
        if layer.name not in self._recurrences:
            states = layer(vectors(inputs, training), training=training)
            return states if return_sequences else last(states, lengths)
        given = inputs.tokens if isinstance(inputs, TokenInput) else inputs
        n_words = tf.shape(given)[1] if lengths is None else lengths[:, 0]
        n_words = tf.broadcast_to(n_words, tf.shape(given)[:1])
        weights = [layer.cell.kernel, layer.cell.recurrent_kernel, layer.cell.bias]
        run = _Run(self._recurrences[layer.name], bool(training), return_sequences)
        return run(inputs, n_words, [tf.convert_to_tensor(weight) for weight in weights])


class _Run:
    """A layer's computation over one batch, as an operation with a gradient."""

    def __init__(self, recurrence: Recurrence, learn: bool, return_sequences: bool) -> None:
        self._recurrence, self._learn, self._all_states = recurrence, learn, return_sequences

    def __call__(self, inputs: Any, lengths: Any, weights: list[Any]) -> Any:
        """Returns (B, H) or (B, T, H) from `TokenInput` or vectors, their lengths (B,), and the layer's weights."""
        of_words = isinstance(inputs, TokenInput)
        rate = inputs.dropout.rate if of_words and inputs.dropout is not None and self._learn else 0.0
        seed = tf.cast(inputs.dropout.seed_generator.next(), tf.int32) if rate else tf.zeros([2], tf.int32)
        tokens = inputs.tokens if of_words else tf.zeros([0], tf.int32)

        def forward(tokens: Any, seed: Any, lengths: Any, source: Any, *weights: Any) -> Any:
            given, table = (tokens, Table(source, rate, seed)) if of_words else (source, None)
            return self._recurrence.forward(
                given, lengths, table, weights, learn=self._learn, return_sequences=self._all_states
            )

        def backward(gradient: Any) -> Any:
            found = self._recurrence.backward(gradient)
            return found.inputs, found.rows, found.kernel, found.recurrent, found.bias

        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def read(source: Any, *weights: Any) -> Any:
            result = tf.numpy_function(forward, [tokens, seed, lengths, source, *weights], tf.float32)
            units = weights[1].shape[0]
            result.set_shape([None, None, units] if self._all_states else [None, units])

            def gradients(gradient: Any) -> Any:
                kinds = [tf.float32, tf.int32, tf.float32, tf.float32, tf.float32]
                values, rows, *of_weights = tf.numpy_function(backward, [gradient], kinds)
                for value, weight in zip(of_weights, weights, strict=True):
                    value.set_shape(weight.shape)
                values.set_shape([None, *source.shape[1:]])
                rows.set_shape([None])
                whole = tf.constant(source.shape.as_list()) if of_words else None
                return tf.IndexedSlices(values, rows, whole) if of_words else values, *of_weights

            return result, gradients

        return read(tf.convert_to_tensor(inputs.embedding.embeddings) if of_words else inputs, *weights)
