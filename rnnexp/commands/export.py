"""`rnnexp export`: write the best model as a bundle that accepts raw text, checked against training."""

import argparse
import shlex
import shutil
import tempfile
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rnnexp import addresses, disk
from rnnexp.commands.show import find
from rnnexp.data import openings
from rnnexp.data.store import data_set
from rnnexp.errors import StudyError, UserError, shown
from rnnexp.export import card
from rnnexp.export.bundle import CARD, Bundle, Source
from rnnexp.export.check import Checked, CheckProcess
from rnnexp.export.checked_bundle import WriteCard, check_model_is_kept, origin, source_of, write_checked
from rnnexp.export.place import folder_beside, free_place, publish
from rnnexp.home import Home
from rnnexp.model.cells import cell
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
            publish(work, folder)
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
        wanted = args.formats or _default_formats(source)
        found = _write(source, folder, wanted, _card_writer(home, study, row, args.prefer))
    _print_origin(study, row, to)
    _print_formats(found)
    if row.run_id is not None:
        _log_card(home, row.run_id, folder, f"{study.name}, trial {number}")
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

    work = folder_beside(to)
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


def _default_formats(source: Source) -> list[str]:
    """Returns the formats that are written if the user names none; says so if one cannot represent the model."""
    name = source.config.model.cell
    if cell(name).onnx is not None:
        return ["keras", "saved_model", "onnx"]
    tables.console().print(f"  onnx: left out, because no operator of ONNX computes the cell {name}", soft_wrap=True)
    return ["keras", "saved_model"]


def _write(source: Source, to: Path, formats: list[str], write_card: WriteCard) -> Checked:
    """Writes the bundle beside its place, checks it, and renames it."""
    process = CheckProcess(get_context("spawn"))
    try:
        work, found = write_checked(source, to, formats, process, write_card)
    finally:
        process.kill()
    publish(work, to)
    return found


def _print_formats(found: Checked) -> None:
    """Prints how each format was checked, and how fast it is."""
    for parity in found.parities:
        assert parity.speed is not None
        tables.console().print(
            f"  {parity.format}: checked in a new process on {parity.n_texts:,} held-out texts; the probabilities "
            f"differ from training's by at most {parity.difference:.1g}; "
            f"a text takes {parity.speed.one_text_ms:.2g} ms",
            soft_wrap=True,
        )


def _card_writer(home: Home, study: StudyView, row: TrialRow, prefer: str | None) -> WriteCard:
    """Returns what writes the model card of a trial."""
    from rnnexp.analysis import selection

    def write_card(source: Source, found: Checked, measured: dict[str, Any]) -> str:
        data, store = data_set(source.config.data), source.store
        tested = openings.of_model(home, store.digest, disk.file_hash(source.model))
        facts = card.Facts(
            selection=selection.sentences(home, study, row, prefer),
            data=data.description(),
            licence=data.licence(),
            interval=selection.interval_over_texts,
            test_results=[] if tested is None else [(tested["accuracy"], len(store.test_rows))],
        )
        return card.markdown(source, found, measured, facts)

    return write_card


def _log_card(home: Home, run_id: str, bundle: Path, title: str) -> None:
    """Puts the model card on the page of the trial's run; a failure of MLflow is only printed."""
    from rnnexp.tracking.client import log_text

    page = card.html((bundle / CARD).read_text(encoding="utf-8"), title)
    try:
        log_text(home, run_id, page, "model_card.html")
    except Exception as error:
        tables.console().print(
            f"  MLflow does not have the model card ({addresses.one_line(error, 240)})", soft_wrap=True
        )
