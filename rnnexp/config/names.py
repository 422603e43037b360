"""The names of cells and data sets, which are the names of their modules, of the metrics, and of a study.

Each cell and each data set is one file. This module lists the files instead of importing them: the configuration must
not import these packages, and a new file needs no second edit.
"""

import pkgutil
from functools import cache
from pathlib import Path

STUDY_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}"
"""The pattern of a study's name. It is the name of a folder, too."""

COSTS = {"train_seconds": "minimize", "n_params": "minimize", "ms_per_text": "minimize"}
"""What a trial costs: the time of its training, its weights, and the time to predict a text."""

CERTIFICATION = "-certify"
"""Is added to the name of a study for the study of its certification."""

_PACKAGE = Path(__file__).resolve().parent.parent


def _modules(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(module.name for module in pkgutil.iter_modules([str(folder)])))


@cache
def cells() -> tuple[str, ...]:
    """Returns the recurrent cells: the modules of `rnnexp/model/cells/`."""
    return _modules(_PACKAGE / "model" / "cells")


@cache
def data_sets() -> tuple[str, ...]:
    """Returns the built-in data sets: the modules of `rnnexp/data/sets/`."""
    return _modules(_PACKAGE / "data" / "sets")


METRICS = {
    "val_accuracy": "maximize",
    "val_loss": "minimize",
    "accuracy": "maximize",
    "loss": "minimize",
}
"""The metrics that each trial reports for each epoch, and the direction in which each improves."""
