"""The network: embedding, recurrent layers, pooling, head.

Built from stock layers and `keras.ops` alone, so that a saved model loads in Keras' safe mode without this package.
Padding is on the right and never read: a review's state is taken at its own last word, pooling leaves padding out, and
the backward direction reads the review reversed within its own length. So the recurrent loop needs no mask.
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

_FAR_BELOW = -1e9


@dataclass(frozen=True)
class TokenInput:
    """What a recurrent layer reads that stands right on the embedding.

    Attributes:
        tokens: (B, T), int32.
        embedding: the layer that makes vectors of them.
        dropout: the layer that drops some of their entries, or None.
    """

    tokens: Any
    embedding: Any
    dropout: Any


def vectors(inputs: Any, training: bool | None) -> Any:
    """Returns what a layer reads as vectors (B, T, E)."""
    if not isinstance(inputs, TokenInput):
        return inputs
    found = inputs.embedding(inputs.tokens)
    return found if inputs.dropout is None else inputs.dropout(found, training=training)


def last(states: Any, lengths: Any) -> Any:
    """Returns the state after each review's last word, (B, T, H) → (B, H)."""
    if lengths is None:
        return states[:, -1]
    return ops.squeeze(ops.take_along_axis(states, ops.expand_dims(lengths - 1, -1), axis=1), axis=1)


class Runner(Protocol):
    """How a network's layers are had and run: the structure is the same for all."""

    def layer(self, name: str, make: Callable[[], Any]) -> Any:
        """Returns the layer of that name."""
        ...

    def read(self, layer: Any, inputs: Any, lengths: Any, training: bool | None, *, return_sequences: bool) -> Any:
        """Runs a recurrent layer over `TokenInput` or vectors (B, T, E).

        Args:
            layer: stock.
            inputs: what it reads.
            lengths: words of each review, (B, 1); None where all are of T.
            training: whether gradients will be asked for.
            return_sequences: whether to return all states (B, T, H), where those past a text's end mean nothing;
                else the state after each text's last word, (B, H).
        """
        ...


class _Stock:
    """Makes the layers, and runs them as Keras does."""

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
        activation: what turns logits into probabilities.

    Returns:
        A model from tokens (B, T), int32, to probabilities (B, n_outputs).
    """
    fixed = config.data.padding == "fixed"
    tokens = keras.Input((config.data.maxlen if fixed else None,), dtype="int32", name="tokens")
    logits = network(tokens, config, n_outputs, _Stock())
    probabilities = keras.layers.Activation(activation, name="probabilities")(logits)
    return keras.Model(tokens, probabilities, name=config.model.cell)


def logits_of(model: keras.Model) -> keras.Model:
    """Returns the same network up to its logits, (B, T) → (B, n_outputs); the weights are shared."""
    return keras.Model(model.input, model.get_layer(LOGITS).output)


def network(tokens: Any, config: TrialConfig, n_outputs: int, runner: Runner, training: bool | None = None) -> Any:
    """Computes logits, (B, T) → (B, n_outputs), of numbers or of Keras' symbols.

    Args:
        tokens: int32.
        config: the trial's settings.
        n_outputs: width of the head.
        runner: has and runs the layers.
        training: whether dropout drops; None leaves it to Keras.
    """
    settings = config.model
    valid = None if config.data.padding == "fixed" else ops.cast(ops.not_equal(tokens, 0), "int32")
    lengths = None if valid is None else ops.maximum(ops.sum(valid, axis=1, keepdims=True), 1)

    def dropout(name: str) -> Any:
        return runner.layer(name, lambda: keras.layers.Dropout(settings.dropout, name=name))

    def dropped(value: Any, name: str) -> Any:
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
        read = _directions(inputs, lengths, config, index, runner, training, return_sequences)
        if not is_last:
            inputs = dropped(_aligned(read, lengths), f"dropout_{index + 1}")
    if settings.pooling == "last":
        pooled = _joined(read)
    else:
        pooled = _pooled(_aligned(read, lengths), lengths, valid, settings.pooling, runner)
    pooled = dropped(pooled, "head_dropout")
    return runner.layer(LOGITS, lambda: keras.layers.Dense(n_outputs, name=LOGITS))(pooled)


def _joined(parts: list[Any]) -> Any:
    return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=-1)


def _aligned(directions: list[Any], lengths: Any) -> Any:
    """Returns both directions' states in the order of the words, (B, T, H) or (B, T, 2H)."""
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
    """Returns what each direction has read, the backward one in its own order: its last step is the first word."""
    settings = config.model
    result = []
    for direction in ("", "_backward") if settings.bidirectional else ("",):
        name = f"{settings.cell}_{index + 1}{direction}"
        make = partial(cell(settings.cell).layer, settings.units, settings.recurrent_dropout, name)
        layer = runner.layer(name, make)
        source = _reversed(inputs, lengths) if direction else inputs
        result.append(runner.read(layer, source, lengths, training, return_sequences=return_sequences))
    return result


def _reversed(inputs: Any, lengths: Any) -> Any:
    """Reverses each review within its own length, of words or (B, T, H); padding stays where it is."""
    if isinstance(inputs, TokenInput):
        return TokenInput(_reversed(inputs.tokens[..., None], lengths)[..., 0], inputs.embedding, inputs.dropout)
    if lengths is None:
        return ops.flip(inputs, axis=1)
    steps = ops.cumsum(ops.ones_like(inputs[:, :, 0], dtype="int32"), axis=1) - 1
    source = ops.where(steps < lengths, lengths - 1 - steps, steps)
    return ops.take_along_axis(inputs, ops.expand_dims(source, -1), axis=1)


def _pooled(aligned: Any, lengths: Any, valid: Any, how: str, runner: Runner) -> Any:
    """Returns one vector a review from all states, (B, T, H) → (B, H)."""
    if how == "attention":
        scores = runner.layer("attention", lambda: keras.layers.Dense(1, name="attention"))(aligned)
        if valid is not None:
            scores = ops.where(ops.expand_dims(valid, -1) > 0, scores, _FAR_BELOW)
        return ops.sum(aligned * ops.softmax(scores, axis=1), axis=1)
    if valid is None:
        return ops.mean(aligned, axis=1) if how == "mean" else ops.max(aligned, axis=1)
    kept = ops.expand_dims(ops.cast(valid, aligned.dtype), -1)
    if how == "mean":
        return ops.sum(aligned * kept, axis=1) / ops.cast(lengths, aligned.dtype)
    return ops.max(ops.where(kept > 0, aligned, _FAR_BELOW), axis=1)
