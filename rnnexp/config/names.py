"""The names that a setting may take where each name is a module of its own.

A cell or a data set is one file; its name is the file's. Listing the files keeps the configuration free of the
rooms that it must not import, and adding one needs no second edit.
"""

import pkgutil
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def _modules(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(module.name for module in pkgutil.iter_modules([str(folder)])))


@cache
def cells() -> tuple[str, ...]:
    """The recurrent cells: the modules of `rnnexp/model/cells/`."""
    return _modules(_PACKAGE / "model" / "cells")


@cache
def data_sets() -> tuple[str, ...]:
    """The built-in data sets: the modules of `rnnexp/data/sets/`."""
    return _modules(_PACKAGE / "data" / "sets")


METRICS = {
    "val_accuracy": "maximize",
    "val_loss": "minimize",
    "accuracy": "maximize",
    "loss": "minimize",
}
"""What every trial reports for each epoch, with the direction in which it gets better."""
