"""`rnnexp export`: write the best model as a bundle that accepts raw text, checked against training."""

import argparse
import shlex
import shutil
from multiprocessing import get_context
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

from rnnexp.commands.show import find
from rnnexp.config.trial import load_trial
from rnnexp.data.store import prepare
from rnnexp.engine import local
from rnnexp.errors import StudyError, UserError
from rnnexp.export.bundle import FORMATS, Source, create, free_place, publish
from rnnexp.export.check import Parity, check
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
    _check_model(home, study, row)
    with exporting(home.study(study.name).trial(row.number)):
        source = _source(home, study, row)
        parities = _write(source, folder, args.formats or list(FORMATS), get_context("spawn"))
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


def bundle_for_record(home: Home, study: StudyView) -> Path:
    """Writes and checks the bundle of the best trial that is logged to MLflow. The caller holds the study's lock."""
    to = home.study(study.name).bundle
    _write(_source(home, study, _chosen(study, None)), to, ["keras"], local.context()[0])
    return to


def _chosen(study: StudyView, number: int | None) -> TrialRow:
    if number is None:
        if study.best is None:
            raise StudyError(f"study {study.name} has no finished trial yet; `rnnexp trials {study.name}` lists them")
        return study.best
    row = find(study, number)
    if row.value is None or row.best_epoch is None:
        raise StudyError(f"trial {number} of {study.name} is {row.state} and has no model to export")
    return row


def _check_model(home: Home, study: StudyView, row: TrialRow) -> None:
    folder = home.study(study.name).trial(row.number)
    if not folder.best.exists():
        raise UserError(
            f"trial {row.number} of {study.name}: its checkpoint is not kept (keep.checkpoints); export one of the "
            f"best trials, or train it again: rnnexp show {study.name} {row.number} --yaml > trial.yaml, "
            "rnnexp train trial.yaml"
        )


def _source(home: Home, study: StudyView, row: TrialRow) -> Source:
    _check_model(home, study, row)
    folder = home.study(study.name).trial(row.number)
    config = load_trial(folder.config, {})
    about: dict[str, Any] = {
        "study": study.name,
        "trial": row.number,
        "run_id": row.run_id,
        "best_epoch": row.best_epoch,
        "metrics": row.metrics,
    }
    return Source(config, folder.best, folder.held_out, prepare(config.data, home), about)


def _write(source: Source, to: Path, formats: list[str], context: BaseContext) -> list[Parity]:
    """Writes the bundle beside its place, checks it, and renames it."""
    work = create(source, to, formats)
    try:
        parities = check(work, source.store.root, source.held_out, context)
        publish(work, to)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return parities
