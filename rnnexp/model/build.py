"""The network: embedding, recurrent layers, pooling, head.

Built from stock layers and `keras.ops` alone, so that a saved model loads in Keras' safe mode without this package.
Padding is on the right and never read: a review's state is taken at its own last word, pooling leaves padding out, and
the backward direction reads the review reversed within its own length. So the recurrent loop needs no mask.
With `data.padding: fixed` the zeros come first and are read like words, as Keras does without a mask.
"""

from typing import Any

import keras
from keras import ops

from rnnexp.config.trial import TrialConfig
from rnnexp.model.cells import cell

LOGITS = "logits"
"""The name of the layer before the activation."""

_FAR_BELOW = -1e9


def build(config: TrialConfig, n_outputs: int, activation: str) -> keras.Model:
    """Builds the network of one trial.

    Args:
        config: the trial's settings; `data.vocab_size` is V.
        n_outputs: width of the head, C or 1.
        activation: what turns logits into probabilities.

    Returns:
        A model from tokens (B, T), int32, to probabilities (B, n_outputs).
    """
    settings, fixed = config.model, config.data.padding == "fixed"
    tokens = keras.Input((config.data.maxlen if fixed else None,), dtype="int32", name="tokens")
    valid = None if fixed else ops.cast(ops.not_equal(tokens, 0), "int32")
    lengths = None if valid is None else ops.maximum(ops.sum(valid, axis=1, keepdims=True), 1)
    states = keras.layers.Embedding(config.data.vocab_size, settings.embedding_dim, name="embedding")(tokens)
    states = _dropout(states, settings.dropout, "embedding_dropout")
    for index in range(settings.layers):
        directions = _directions(states, lengths, config, index)
        if index + 1 < settings.layers:
            aligned = [directions[0]] + [_reversed(backward, lengths) for backward in directions[1:]]
            states = _joined(aligned)
            states = _dropout(states, settings.dropout, f"dropout_{index + 1}")
    pooled = _pooled(directions, lengths, valid, settings.pooling)
    pooled = _dropout(pooled, settings.dropout, "head_dropout")
    logits = keras.layers.Dense(n_outputs, name=LOGITS)(pooled)
    probabilities = keras.layers.Activation(activation, name="probabilities")(logits)
    return keras.Model(tokens, probabilities, name=settings.cell)


def logits_of(model: keras.Model) -> keras.Model:
    """Returns the same network up to its logits, (B, T) → (B, n_outputs); the weights are shared."""
    return keras.Model(model.input, model.get_layer(LOGITS).output)


def _dropout(value: Any, rate: float, name: str) -> Any:
    return keras.layers.Dropout(rate, name=name)(value) if rate else value


def _joined(parts: list[Any]) -> Any:
    return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=-1)


def _directions(states: Any, lengths: Any, config: TrialConfig, index: int) -> list[Any]:
    """Returns each direction's states (B, T, H), the backward one in its own order: its last step is the first word."""
    settings = config.model
    make = cell(settings.cell).layer
    result = [make(settings.units, settings.recurrent_dropout, f"{settings.cell}_{index + 1}")(states)]
    if settings.bidirectional:
        backward = make(settings.units, settings.recurrent_dropout, f"{settings.cell}_{index + 1}_backward")
        result.append(backward(_reversed(states, lengths)))
    return result


def _reversed(states: Any, lengths: Any) -> Any:
    """Reverses each review within its own length, (B, T, H) → (B, T, H); padding stays where it is."""
    if lengths is None:
        return ops.flip(states, axis=1)
    steps = ops.cumsum(ops.ones_like(states[:, :, 0], dtype="int32"), axis=1) - 1
    source = ops.where(steps < lengths, lengths - 1 - steps, steps)
    return ops.take_along_axis(states, ops.expand_dims(source, -1), axis=1)


def _pooled(directions: list[Any], lengths: Any, valid: Any, how: str) -> Any:
    """Returns one vector a review, (B, H) or (B, 2H)."""
    if how == "last":
        return _joined([_last(states, lengths) for states in directions])
    aligned = _joined([directions[0]] + [_reversed(backward, lengths) for backward in directions[1:]])
    if how == "attention":
        scores = keras.layers.Dense(1, name="attention")(aligned)
        if valid is not None:
            scores = ops.where(ops.expand_dims(valid, -1) > 0, scores, _FAR_BELOW)
        return ops.sum(aligned * ops.softmax(scores, axis=1), axis=1)
    if valid is None:
        return ops.mean(aligned, axis=1) if how == "mean" else ops.max(aligned, axis=1)
    kept = ops.expand_dims(ops.cast(valid, aligned.dtype), -1)
    if how == "mean":
        return ops.sum(aligned * kept, axis=1) / ops.cast(lengths, aligned.dtype)
    return ops.max(ops.where(kept > 0, aligned, _FAR_BELOW), axis=1)


def _last(states: Any, lengths: Any) -> Any:
    """Returns the state at each review's last word, (B, T, H) → (B, H)."""
    if lengths is None:
        return states[:, -1]
    return ops.squeeze(ops.take_along_axis(states, ops.expand_dims(lengths - 1, -1), axis=1), axis=1)
