"""`rnnexp export`: write the best model as a bundle that accepts raw text, checked against training."""

import argparse
import shlex
import shutil
import tempfile
from multiprocessing import get_context
from pathlib import Path

from rnnexp import disk
from rnnexp.commands.show import find
from rnnexp.errors import StudyError, UserError, shown
from rnnexp.export.bundle import FORMATS, Bundle, Source, free_place
from rnnexp.export.check import CheckProcess, Parity
from rnnexp.export.checked_bundle import check_model_is_kept, origin, publish_or_remove, source_of, write_checked
from rnnexp.home import Home
from rnnexp.storage.views import StudyView, TrialRow, view
from rnnexp.study.retention import exporting
from rnnexp.terminal import next_commands, tables
from rnnexp.tracking.fetch import fetch, owner


def run(args: argparse.Namespace) -> int:
    """Writes and checks the bundle; a failure leaves nothing behind. A running sweep keeps the model meanwhile."""
    home = Home.at(args.home)
    study = view(home, args.study)
    number = _chosen(study, args.trial, args.prefer).number
    to = Path(args.to)
    folder = free_place(to)
    if study.origin is not None:
        study = fetch(home, study, [number], with_model=True)
        row = find(study, number)
        if (work := _registered(home, study, row, folder, args.formats)) is not None:
            publish_or_remove(work, folder)
            _print_origin(study, row, to)
            tables.console().print(
                "  the bundle that MLflow has; every file is the one that was checked after training"
            )
            return 0
    row = find(study, number)
    check_model_is_kept(study.folder.trial(number), study.name, number)
    with exporting(study.folder.trial(number)):
        source = source_of(
            home, study.folder.trial(number), origin(study.name, number, row.run_id, row.best_epoch, row.metrics)
        )
        parities = _write(source, folder, args.formats or list(FORMATS))
    _print_origin(study, row, to)
    for parity in parities:
        tables.console().print(
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


def _print_origin(study: StudyView, row: TrialRow, to: Path) -> None:
    tables.console().print(
        f"{to}: trial {row.number} of {study.name}, {study.metric} {tables.number(row.value)} "
        f"at epoch {row.best_epoch}",
        soft_wrap=True,
    )


def _registered(home: Home, study: StudyView, row: TrialRow, to: Path, formats: list[str] | None) -> Path | None:
    """Downloads the bundle of a study's best trial, if MLflow has it in the formats that are asked for.

    It needs no data on this machine.

    Returns:
        A temporary folder with the bundle; None if the bundle has to be made here.
    """
    if study.best is None or row.number != study.best.number or set(formats or ["keras"]) != {"keras"}:
        return None
    from rnnexp.tracking import best_model

    work = disk.folder_beside(to)
    try:
        with tempfile.TemporaryDirectory() as temporary:
            found = best_model.download(home, study, owner(home, study), Path(temporary))
            if found is None:
                shutil.rmtree(work)
                return None
            Bundle.open(found)  # compares the hash of every file
            shutil.copytree(found, work, dirs_exist_ok=True)
        return work
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def _chosen(study: StudyView, number: int | None, prefer: str | None) -> TrialRow:
    if prefer is not None and prefer not in study.ranking.metrics:
        raise UserError(
            f"export --prefer: got {shown(prefer)}, expected an objective of study {study.name}: "
            f"{', '.join(study.ranking.metrics)}"
        )
    if number is None:
        if study.best is None:
            raise StudyError(f"study {study.name} has no finished trial yet; `rnnexp trials {study.name}` lists them")
        return study.best if prefer is None else study.best_in(prefer)
    row = find(study, number)
    if row.value is None or row.best_epoch is None:
        raise StudyError(f"trial {number} of {study.name} is {row.state} and has no model to export")
    return row


def _write(source: Source, to: Path, formats: list[str]) -> list[Parity]:
    """Writes the bundle beside its place, checks it, and renames it."""
    process = CheckProcess(get_context("spawn"))
    try:
        work, parities = write_checked(source, to, formats, process)
    finally:
        process.kill()
    publish_or_remove(work, to)
    return parities
