"""The recurrent cells, a module each; the module's name is what `model.cell` takes.

A module offers one function, `layer(units, recurrent_dropout, name)`, that returns a Keras layer from (B, T, E) to
the states at every step (B, T, H). Nothing else has to be told of it.
"""

import importlib
from typing import Any, Protocol, cast


class Cell(Protocol):
    """What a module of this package offers."""

    def layer(self, units: int, recurrent_dropout: float, name: str) -> Any:
        """Returns a layer (B, T, E) → (B, T, H).

        Args:
            units: H.
            recurrent_dropout: share of the state dropped at each step.
            name: the layer's.
        """
        ...


def cell(name: str) -> Cell:
    """Returns the cell's module."""
    return cast(Cell, importlib.import_module(f"rnnexp.model.cells.{name}"))
