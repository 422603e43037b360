"""Makes the bundle of a trial: from which files, and how it is written, checked and put in its place."""

import shutil
from pathlib import Path
from typing import Any

from rnnexp.config.trial import load_trial
from rnnexp.data.store import prepare
from rnnexp.errors import UserError
from rnnexp.export.bundle import Source, create, publish
from rnnexp.export.check import CheckProcess, Parity, check
from rnnexp.home import Home, TrialFolder


def check_model_is_kept(folder: TrialFolder, study: str, number: int) -> None:
    """Raises `UserError` if the model of a trial is not kept."""
    if not folder.best.exists():
        raise UserError(
            f"trial {number} of {study}: its checkpoint is not kept (keep.checkpoints); export one of the "
            f"best trials, or train it again: rnnexp show {study} {number} --yaml > trial.yaml, "
            "rnnexp train trial.yaml"
        )


def origin(
    study: str, trial: int, run_id: str | None, best_epoch: int | None, metrics: dict[str, float]
) -> dict[str, Any]:
    """Returns what a bundle's manifest says about its trial."""
    return {"study": study, "trial": trial, "run_id": run_id, "best_epoch": best_epoch, "metrics": metrics}


def source_of(home: Home, folder: TrialFolder, about: dict[str, Any]) -> Source:
    """Returns what the bundle of a trial is created from.

    Args:
        home: contains the data.
        folder: the trial's files.
        about: its `origin`.

    Raises:
        UserError: if its model is not kept.
        DataError: if its data are not there.
    """
    check_model_is_kept(folder, about["study"], about["trial"])
    config = load_trial(folder.config, {})
    return Source(config, folder.best, folder.held_out, prepare(config.data, home), about)


def write_checked(source: Source, to: Path, formats: list[str], process: CheckProcess) -> tuple[Path, list[Parity]]:
    """Writes a bundle beside its place and checks it.

    Args:
        source: the trial.
        to: its place.
        formats: some of `FORMATS`.
        process: a new process, which checks it.

    Returns:
        The temporary folder with the bundle, which the caller publishes or removes; and the parity of each format.

    Raises:
        RnnexpError: if it cannot be written or is not the trained model; then nothing is left of it.
    """
    work = create(source, to, formats)
    try:
        return work, check(work, source.store.root, source.held_out, process)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def publish_or_remove(work: Path, to: Path) -> None:
    """Moves a checked bundle to its place; if that fails, it is removed."""
    try:
        publish(work, to)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
