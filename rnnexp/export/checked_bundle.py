"""Makes the bundle of a trial: from which files, and how it is written and checked."""

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rnnexp import quiet
from rnnexp.config.trial import load_trial
from rnnexp.data.store import prepare
from rnnexp.errors import UserError
from rnnexp.export import formats
from rnnexp.export.bundle import CARD, Source, write_manifest
from rnnexp.export.check import Checked, CheckProcess, check
from rnnexp.export.place import folder_beside
from rnnexp.home import Home, TrialFolder
from rnnexp.runtime.manifest import FORMATS

WriteCard = Callable[[Source, Checked, dict[str, Any]], str]
"""Returns the model card of a checked bundle; the last argument has the measurements of each format."""


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


def create(source: Source, to: Path, wanted: Sequence[str]) -> Path:
    """Writes a bundle to a temporary folder next to `to`. The caller verifies it, then publishes it.

    Args:
        source: the trial.
        to: the final folder of the bundle.
        wanted: some of `FORMATS`; `keras` is always written.

    Returns:
        The temporary folder.

    Raises:
        UserError: if the folder cannot be written, or a format cannot represent the model.
    """
    work = folder_beside(to)
    with _removed_on_failure(work):
        source.vocabulary.save(work / "vocabulary.txt")
        (work / "config.yaml").write_text(source.config.to_yaml(), encoding="utf-8")
        names = [name for name in FORMATS if name in wanted or name == "keras"]
        with quiet.standard_error():  # of the libraries
            for name in names:
                formats.module(name).write(work, source, names)
        write_manifest(work, source, names)
    return work


def write_checked(
    source: Source, to: Path, wanted: Sequence[str], process: CheckProcess, write_card: WriteCard | None = None
) -> tuple[Path, Checked]:
    """Writes a bundle beside its place and checks it.

    Args:
        source: the trial.
        to: its place.
        wanted: some of `FORMATS`.
        process: a new process, which checks it.
        write_card: returns the model card; then the formats are measured, too.

    Returns:
        The temporary folder with the bundle, which the caller publishes or removes; and what the check found.

    Raises:
        RnnexpError: if it cannot be written or is not the trained model; then nothing is left of it.
    """
    work = create(source, to, wanted)
    with _removed_on_failure(work):
        found = check(work, source.store.root, source.held_out, process, measure=write_card is not None)
        if write_card is not None:
            measured = {parity.format: _measured(work, parity) for parity in found.parities}
            (work / CARD).write_text(write_card(source, found, measured), encoding="utf-8")
            write_manifest(work, source, list(measured), measured)
    return work, found


@contextlib.contextmanager
def _removed_on_failure(work: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def _measured(work: Path, parity: Any) -> dict[str, Any]:
    """Returns size, accuracy and latency of a format, for the manifest."""
    path = work / formats.module(parity.format).PATH
    files = path.rglob("*") if path.is_dir() else [path]
    return {
        "bytes": sum(file.stat().st_size for file in files if file.is_file()),
        "n_texts": parity.n_texts,
        "accuracy": parity.accuracy,
        "largest_difference": parity.difference,
        **asdict(parity.speed),
    }
