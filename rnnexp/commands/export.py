"""`rnnexp export`: write the best model as a bundle that accepts raw text, checked against training."""

import argparse
import shlex
import shutil
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rnnexp.commands.show import find
from rnnexp.config.trial import load_trial
from rnnexp.data.store import prepare
from rnnexp.errors import StudyError, UserError
from rnnexp.export.bundle import FORMATS, Source, create, free_place, publish
from rnnexp.export.check import CheckProcess, Parity, check
from rnnexp.home import Home
from rnnexp.storage.views import StudyView, TrialRow, view
from rnnexp.study.retention import exporting
from rnnexp.terminal import next_commands, tables


def run(args: argparse.Namespace) -> int:
    """Writes and checks the bundle; a failure leaves nothing behind. A running sweep keeps the model meanwhile."""
    home = Home.at(args.home)
    study = view(home, args.study)
    row = _chosen(study, args.trial)
    to = Path(args.to)
    folder = free_place(to)
    _check_model(home, study.name, row.number)
    with exporting(home.study(study.name).trial(row.number)):
        source = _source(home, study, row)
        parities = _write(source, folder, args.formats or list(FORMATS))
    console = tables.console()
    console.print(
        f"{to}: trial {row.number} of {study.name}, {study.metric} {tables.number(row.value)} "
        f"at epoch {row.best_epoch}",
        soft_wrap=True,
    )
    for parity in parities:
        console.print(
            f"  {parity.format}: checked in a new process on {parity.n_texts} held-out texts; "
            f"the probabilities differ from training's by at most {parity.difference:.1g}"
        )
    next_commands.show(
        [
            next_commands.predict(str(to), source.store, source.config.data),
            (
                f"evaluate {shlex.quote(str(to))}{next_commands.home_option(home)}",
                "measure it on the test part; each use of it is counted",
            ),
        ]
    )
    return 0


def _chosen(study: StudyView, number: int | None) -> TrialRow:
    if number is None:
        if study.best is None:
            raise StudyError(f"study {study.name} has no finished trial yet; `rnnexp trials {study.name}` lists them")
        return study.best
    row = find(study, number)
    if row.value is None or row.best_epoch is None:
        raise StudyError(f"trial {number} of {study.name} is {row.state} and has no model to export")
    return row


def _check_model(home: Home, study: str, number: int) -> None:
    folder = home.study(study).trial(number)
    if not folder.best.exists():
        raise UserError(
            f"trial {number} of {study}: its checkpoint is not kept (keep.checkpoints); export one of the "
            f"best trials, or train it again: rnnexp show {study} {number} --yaml > trial.yaml, "
            "rnnexp train trial.yaml"
        )


def _source(home: Home, study: StudyView, row: TrialRow) -> Source:
    return source_of(home, origin(study.name, row.number, row.run_id, row.best_epoch, row.metrics))


def origin(
    study: str, trial: int, run_id: str | None, best_epoch: int | None, metrics: dict[str, float]
) -> dict[str, Any]:
    """Returns what a bundle's manifest says about its trial."""
    return {"study": study, "trial": trial, "run_id": run_id, "best_epoch": best_epoch, "metrics": metrics}


def source_of(home: Home, about: dict[str, Any]) -> Source:
    """Returns what the bundle of a trial is created from.

    Args:
        home: contains the trial.
        about: its `origin`.

    Raises:
        UserError: if its model is not kept.
        DataError: if its data are not there.
    """
    _check_model(home, about["study"], about["trial"])
    folder = home.study(about["study"]).trial(about["trial"])
    config = load_trial(folder.config, {})
    return Source(config, folder.best, folder.held_out, prepare(config.data, home), about)


def _write(source: Source, to: Path, formats: list[str]) -> list[Parity]:
    """Writes the bundle beside its place, checks it, and renames it."""
    process = CheckProcess(get_context("spawn"))
    try:
        work, parities = write_checked(source, to, formats, process)
    finally:
        process.kill()
    publish_or_remove(work, to)
    return parities


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
