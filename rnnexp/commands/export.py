"""`rnnexp export`: write the best model as a bundle that accepts raw text, checked against training."""

import argparse
import shlex
from multiprocessing import get_context
from pathlib import Path

from rnnexp.commands.show import find
from rnnexp.errors import StudyError
from rnnexp.export.bundle import FORMATS, Source, free_place
from rnnexp.export.check import CheckProcess, Parity
from rnnexp.export.checked_bundle import check_model_is_kept, origin, publish_or_remove, source_of, write_checked
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
    check_model_is_kept(home, study.name, row.number)
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


def _source(home: Home, study: StudyView, row: TrialRow) -> Source:
    return source_of(home, origin(study.name, row.number, row.run_id, row.best_epoch, row.metrics))


def _write(source: Source, to: Path, formats: list[str]) -> list[Parity]:
    """Writes the bundle beside its place, checks it, and renames it."""
    process = CheckProcess(get_context("spawn"))
    try:
        work, parities = write_checked(source, to, formats, process)
    finally:
        process.kill()
    publish_or_remove(work, to)
    return parities
