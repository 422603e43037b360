"""The checkpoint at the end of an epoch: all that a trial needs to resume exactly, in one file, replaced atomically.

It holds the weights, the variables of the optimizer and the random state of dropout (which model files omit) as arrays,
and the curve as JSON. The order of batches is not stored: it follows from the seed and the epoch.
"""

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from rnnexp import disk
from rnnexp.home import TrialFolder


def save(path: Path, model: Any, optimizer: Any, curve: list[dict[str, float]], seconds: float) -> None:
    """Writes the checkpoint to a temporary file and renames it.

    Args:
        path: the file.
        model: its `variables`, including random states, are saved.
        optimizer: its `variables` are saved.
        curve: the metrics of each epoch.
        seconds: training time so far.
    """
    arrays = {f"model_{index}": variable.numpy() for index, variable in enumerate(model.variables)}
    arrays |= {f"optimizer_{index}": variable.numpy() for index, variable in enumerate(optimizer.variables)}
    about = json.dumps({"curve": curve, "seconds": seconds})
    with disk.replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, about=np.array(about), **arrays)


def restore(path: Path, model: Any, optimizer: Any) -> tuple[list[dict[str, float]], float] | None:
    """Restores a model and an optimizer that were built from the same settings.

    Returns:
        The curve and the seconds so far; or None if there is no checkpoint or it is damaged (each array has a
        checksum). The trial then starts again from epoch 1 and gives the same result.

    Raises:
        OSError: if the file cannot be read now.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            about = json.loads(str(arrays["about"]))
            parts = [(model, "model"), (optimizer, "optimizer")]
            values = [
                (variable, arrays[f"{name}_{index}"])
                for owner, name in parts
                for index, variable in enumerate(owner.variables)
            ]
            if any(tuple(variable.shape) != value.shape for variable, value in values):
                return None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, OSError) and not disk.is_damage(error):
            raise
        print(f"{path.name} is damaged ({error}); starting again from epoch 1")  # noqa: T201 - goes to the trial's log
        return None
    for variable, value in values:
        variable.assign(value)
    return about["curve"], about["seconds"]


def model_fault(folder: TrialFolder) -> str:
    """Returns what is wrong with the model of the best epoch or its probabilities; empty if both files are intact.

    Every part of the files is compared with its checksum.
    """
    for path in (folder.best, folder.held_out):
        if not path.exists():
            return f"{path.name} is missing"
        fault = disk.zip_fault(path)
        if fault:
            return f"{path.name} is damaged ({fault})"
    return ""


def model_epoch(folder: TrialFolder) -> int:
    """Returns the epoch of the model on the disk, which is intact; 0 if a version before December 2026 wrote it."""
    with np.load(folder.held_out, allow_pickle=False) as arrays:
        return int(arrays["epoch"]) if "epoch" in arrays else 0
