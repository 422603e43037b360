"""Memory that is used again for every batch."""

from typing import Any

import numpy as np

_GROWTH = 4
"""Buffers are allocated larger than needed by this factor, so that longer batches rarely need new ones."""


class Buffers:
    """Named buffers of one layer."""

    def __init__(self) -> None:
        self._arrays: dict[str, Any] = {}

    def array(self, name: str, *shape: int, dtype: Any = np.float32) -> Any:
        """Returns a buffer of the shape, with arbitrary contents; enlarges it if it is too small.

        Allocating memory at every step costs as much as the arithmetic of a small cell. Memory that is allocated and
        not touched costs nothing, so buffers are allocated generously and rarely.
        """
        size = int(np.prod(shape))
        if name not in self._arrays or self._arrays[name].size < size:
            self._arrays[name] = np.empty(_GROWTH * size, dtype)
        return self._arrays[name][:size].reshape(shape)

    def filled(self, name: str, size: int, value: int) -> Any:
        """Returns a buffer of int32 that is filled with a value when it is created, and not again."""
        if name not in self._arrays:
            self._arrays[name] = np.full(size, value, np.int32)
        return self._arrays[name]
