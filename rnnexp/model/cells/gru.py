"""The gated recurrent unit, with the reset gate after the product, as cuDNN has it. Cho et al., EMNLP 2014."""

from typing import Any

import keras


def layer(units: int, recurrent_dropout: float, name: str) -> Any:
    """Returns the stock layer (B, T, E) → (B, T, H)."""
    return keras.layers.GRU(units, recurrent_dropout=recurrent_dropout, return_sequences=True, name=name)
