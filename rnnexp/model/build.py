"""The network: embedding, recurrent layers, pooling, head.

The network consists of stock layers and `keras.ops` only, so a saved model loads in Keras' safe mode without this
package. Padding is on the right and is never read: the state of a text is taken at its own last word, pooling ignores
padding, and the backward direction reads the text reversed within its own length. So the recurrent loop needs no mask.
With `data.padding: fixed` the zeros come first and are read like words, as Keras does without a mask.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import keras
from keras import ops

from rnnexp.config.trial import TrialConfig
from rnnexp.model.cells import cell

LOGITS = "logits"
"""The name of the layer before the activation."""

_MASKED = -1e9
"""Replaces values at padding, so that a maximum or a softmax ignores them."""


@dataclass(frozen=True)
class TokenInput:
    """The input of a recurrent layer that directly follows the embedding.

    Attributes:
        tokens: (B, T), int32.
        embedding: the layer that maps them to vectors.
        dropout: the layer that drops entries of the vectors, or None.
    """

    tokens: Any
    embedding: Any
    dropout: Any


def vectors(inputs: Any, training: bool | None) -> Any:
    """Returns the input of a layer as vectors (B, T, E)."""
    if not isinstance(inputs, TokenInput):
        return inputs
    embedded = inputs.embedding(inputs.tokens)
    return embedded if inputs.dropout is None else inputs.dropout(embedded, training=training)


def last(states: Any, lengths: Any) -> Any:
    """Returns the state after the last word of each text, (B, T, H) → (B, H)."""
    if lengths is None:
        return states[:, -1]
    return ops.squeeze(ops.take_along_axis(states, ops.expand_dims(lengths - 1, -1), axis=1), axis=1)


class Runner(Protocol):
    """Provides and runs the layers of a network. `network` defines the structure, which is the same for all runners."""

    def layer(self, name: str, make: Callable[[], Any]) -> Any:
        """Returns the layer of that name."""
        ...

    def read(self, layer: Any, inputs: Any, lengths: Any, training: bool | None, *, return_sequences: bool) -> Any:
        """Runs a recurrent layer over `TokenInput` or vectors (B, T, E).

        Args:
            layer: the cell's Keras layer.
            inputs: the input of the layer.
            lengths: words of each text, (B, 1); None if all texts have T words.
            training: whether gradients will be computed.
            return_sequences: whether to return all states (B, T, H), where those past the end of a text have no
                meaning; else the state after the last word of each text, (B, H).
        """
        ...


class _StockRunner:
    """Builds the layers and calls them as Keras layers."""

    def layer(self, name: str, make: Callable[[], Any]) -> Any:
        return make()

    def read(self, layer: Any, inputs: Any, lengths: Any, training: bool | None, *, return_sequences: bool) -> Any:
        states = layer(vectors(inputs, training), training=training)
        return states if return_sequences else last(states, lengths)


def build(config: TrialConfig, n_outputs: int, activation: str) -> keras.Model:
    """Builds the network of one trial.

    Args:
        config: the trial's settings; `data.vocab_size` is V.
        n_outputs: width of the head, C or 1.
        activation: maps logits to probabilities.

    Returns:
        A model from tokens (B, T), int32, to probabilities (B, n_outputs).
    """
    fixed = config.data.padding == "fixed"
    tokens = keras.Input((config.data.maxlen if fixed else None,), dtype="int32", name="tokens")
    logits = network(tokens, config, n_outputs, _StockRunner())
    probabilities = keras.layers.Activation(activation, name="probabilities")(logits)
    return keras.Model(tokens, probabilities, name=config.model.cell)


def logits_of(model: keras.Model) -> keras.Model:
    """Returns the part of the network up to its logits, (B, T) → (B, n_outputs); the weights are shared."""
    return keras.Model(model.input, model.get_layer(LOGITS).output)


def network(tokens: Any, config: TrialConfig, n_outputs: int, runner: Runner, training: bool | None = None) -> Any:
    """Computes logits, (B, T) → (B, n_outputs), from arrays or from Keras' symbolic tensors.

    Args:
        tokens: int32.
        config: the trial's settings.
        n_outputs: width of the head.
        runner: provides and runs the layers.
        training: whether dropout is active; None leaves the decision to Keras.
    """
    settings = config.model
    valid = None if config.data.padding == "fixed" else ops.cast(ops.not_equal(tokens, 0), "int32")
    lengths = None if valid is None else ops.maximum(ops.sum(valid, axis=1, keepdims=True), 1)

    def dropout(name: str) -> Any:
        return runner.layer(name, lambda: keras.layers.Dropout(settings.dropout, name=name))

    def with_dropout(value: Any, name: str) -> Any:
        return dropout(name)(value, training=training) if settings.dropout else value

    embedding = runner.layer(
        "embedding", lambda: keras.layers.Embedding(config.data.vocab_size, settings.embedding_dim, name="embedding")
    )
    inputs: Any = TokenInput(tokens, embedding, dropout("embedding_dropout") if settings.dropout else None)
    if settings.dropout and settings.bidirectional:
        inputs = vectors(inputs, training)  # both directions read the same entries
    for index in range(settings.layers):
        is_last = index + 1 == settings.layers
        return_sequences = not is_last or settings.pooling != "last"
        outputs = _directions(inputs, lengths, config, index, runner, training, return_sequences)
        if not is_last:
            inputs = with_dropout(_aligned(outputs, lengths), f"dropout_{index + 1}")
    if settings.pooling == "last":
        pooled = _joined(outputs)
    else:
        pooled = _pooled(_aligned(outputs, lengths), lengths, valid, settings.pooling, runner)
    pooled = with_dropout(pooled, "head_dropout")
    return runner.layer(LOGITS, lambda: keras.layers.Dense(n_outputs, name=LOGITS))(pooled)


def recurrent_layer_names(config: TrialConfig) -> list[str]:
    """Returns the names of the recurrent layers of the network."""
    return [
        _recurrent_layer_name(config, index, direction)
        for index in range(config.model.layers)
        for direction in _direction_suffixes(config)
    ]


def _direction_suffixes(config: TrialConfig) -> tuple[str, ...]:
    return ("", "_backward") if config.model.bidirectional else ("",)


def _recurrent_layer_name(config: TrialConfig, index: int, direction: str) -> str:
    return f"{config.model.cell}_{index + 1}{direction}"


def _joined(parts: list[Any]) -> Any:
    return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=-1)


def _aligned(directions: list[Any], lengths: Any) -> Any:
    """Returns the states of both directions in the order of the words, (B, T, H) or (B, T, 2H)."""
    return _joined([directions[0]] + [_reversed(backward, lengths) for backward in directions[1:]])


def _directions(
    inputs: Any,
    lengths: Any,
    config: TrialConfig,
    index: int,
    runner: Runner,
    training: bool | None,
    return_sequences: bool,
) -> list[Any]:
    """Returns the output of each direction. The backward one is in its own order: its last step is the first word."""
    settings = config.model
    result = []
    for direction in _direction_suffixes(config):
        name = _recurrent_layer_name(config, index, direction)
        make = partial(cell(settings.cell).layer, settings.units, settings.recurrent_dropout, name)
        layer = runner.layer(name, make)
        source = _reversed(inputs, lengths) if direction else inputs
        result.append(runner.read(layer, source, lengths, training, return_sequences=return_sequences))
    return result


def _reversed(inputs: Any, lengths: Any) -> Any:
    """Reverses each text within its own length, `TokenInput` or (B, T, H); padding keeps its place."""
    if isinstance(inputs, TokenInput):
        return TokenInput(_reversed(inputs.tokens[..., None], lengths)[..., 0], inputs.embedding, inputs.dropout)
    if lengths is None:
        return ops.flip(inputs, axis=1)
    steps = ops.cumsum(ops.ones_like(inputs[:, :, 0], dtype="int32"), axis=1) - 1
    source = ops.where(steps < lengths, lengths - 1 - steps, steps)
    return ops.take_along_axis(inputs, ops.expand_dims(source, -1), axis=1)


def _pooled(aligned: Any, lengths: Any, valid: Any, method: str, runner: Runner) -> Any:
    """Returns one vector for each text from all states, (B, T, H) → (B, H)."""
    if method == "attention":
        scores = runner.layer("attention", lambda: keras.layers.Dense(1, name="attention"))(aligned)
        if valid is not None:
            scores = ops.where(ops.expand_dims(valid, -1) > 0, scores, _MASKED)
        return ops.sum(aligned * ops.softmax(scores, axis=1), axis=1)
    if valid is None:
        return ops.mean(aligned, axis=1) if method == "mean" else ops.max(aligned, axis=1)
    kept = ops.expand_dims(ops.cast(valid, aligned.dtype), -1)
    if method == "mean":
        return ops.sum(aligned * kept, axis=1) / ops.cast(lengths, aligned.dtype)
    return ops.max(ops.where(kept > 0, aligned, _MASKED), axis=1)
