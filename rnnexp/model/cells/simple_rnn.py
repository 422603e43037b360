"""Elman's network: h_t = tanh(W x_t + U h_{t-1} + b). "Finding Structure in Time", Cognitive Science 1990."""

from typing import Any

import keras


def layer(units: int, recurrent_dropout: float, name: str) -> Any:
    """Returns the stock layer (B, T, E) → (B, T, H)."""
    return keras.layers.SimpleRNN(units, recurrent_dropout=recurrent_dropout, return_sequences=True, name=name)
