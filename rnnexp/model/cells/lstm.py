"""Long short-term memory with a forget gate whose bias begins at 1. Hochreiter and Schmidhuber 1997; Gers 2000."""

from typing import Any

import keras


def layer(units: int, recurrent_dropout: float, name: str) -> Any:
    """Returns the stock layer (B, T, E) → (B, T, H)."""
    return keras.layers.LSTM(units, recurrent_dropout=recurrent_dropout, return_sequences=True, name=name)
