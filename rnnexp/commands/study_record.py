"""Records the result of a study in the study's own run of MLflow: its report, its trials, and its best model."""

import hashlib
import shutil
from pathlib import Path

from rnnexp import addresses, disk
from rnnexp.commands import study_report
from rnnexp.commands.end_preparation import EndPreparation
from rnnexp.engine import start_method
from rnnexp.errors import RnnexpError
from rnnexp.export import checked_bundle, place
from rnnexp.export.check import CheckProcess
from rnnexp.home import Home
from rnnexp.storage.views import StudyView, TrialRow
from rnnexp.terminal import tables


def discard_unfinished(bundle: Path) -> None:
    """Removes what a killed command has left of a bundle; the caller holds the study's lock."""
    disk.recover_folder(bundle)
    for path in bundle.parent.glob(f".{bundle.name}-*"):
        shutil.rmtree(path, ignore_errors=True)


def record(home: Home, study: StudyView, started_at: float, preparation: EndPreparation | None = None) -> str | None:
    """Writes the study's own run with its report and best model, unless MLflow has them.

    Args:
        home: contains the study.
        study: has a best trial.
        started_at: seconds since 1970.
        preparation: may have the bundle of the best trial.

    Returns:
        Why the best model is not in MLflow, if it cannot be exported; else None. A failure of MLflow is only printed.
    """
    from rnnexp.analysis import report
    from rnnexp.tracking import best_model

    folder, fault = home.study(study.name), None
    if preparation is not None:
        preparation.finish_imports()
    table = folder.root / "trials.csv"
    try:
        report.write_csv([study], table)
        content = table.read_bytes() + folder.sweep.read_bytes() + (home.tracking_server or home.mlflow_uri).encode()
        digest = hashlib.sha256(content).hexdigest()
        recorded = folder.recorded.read_text(encoding="utf-8") if folder.recorded.exists() else None
        is_logged = best_model.is_logged(home, study)
        if digest == recorded and is_logged:
            return None
        bundle, fault = (None, None) if is_logged else _bundle(home, study, preparation)
        study_report.publish(home, study, started_at, (folder.sweep, table))
        if bundle is not None:
            assert study.best is not None
            log_model(home, study, study.best, bundle, best_model.BEST)
        disk.write_text(folder.recorded, digest)
    except Exception as error:
        reason = addresses.one_line(error, 240)
        tables.console().print(
            f"MLflow has the trials' runs, but the study's own run could not be recorded ({reason})", soft_wrap=True
        )
    return fault


def log_model(home: Home, study: StudyView, row: TrialRow, bundle: Path, alias: str | None) -> None:
    """Logs the model of a trial, and registers it if it gets an alias; prints a line if that belongs to another home.

    Args:
        home: contains the study.
        study: names the registered model.
        row: the trial, with its run.
        bundle: its checked bundle.
        alias: that the registered version gets; None to register none.
    """
    from rnnexp.export.formats import mlflow
    from rnnexp.tracking import best_model, client

    with client.IN_USE:
        note = best_model.log(home, study, row, bundle, mlflow.write_model, alias)
    if note:
        tables.console().print(note, soft_wrap=True)


def _bundle(home: Home, study: StudyView, preparation: EndPreparation | None) -> tuple[Path | None, str | None]:
    """Returns the checked bundle of the best model, if its trial has a run; and the fault, if it cannot be written."""
    assert study.best is not None
    best, to = study.best, home.study(study.name).bundle
    if best.run_id is None:
        return None, None
    try:
        work = preparation.take(best) if preparation is not None else None
        place.publish(work or write_bundle(home, study, best), to)
        return to, None
    except Exception as error:
        reason = (
            str(error)
            if isinstance(error, RnnexpError)
            else f"{type(error).__name__}: {addresses.one_line(error, 240)}"
        )
        return None, (
            f"study {study.name}: the model of trial {best.number}, the best one, could not be exported and is "
            f"not in MLflow; {reason}; the same command tries it again"
        )


def write_bundle(home: Home, study: StudyView, row: TrialRow, process: CheckProcess | None = None) -> Path:
    """Writes the bundle of a trial to a temporary folder, and has it checked in a new process; returns the folder.

    Args:
        home: contains the study.
        study: the trial's.
        row: the trial, with its run.
        process: checks the bundle, and is ended here; another thread may end it before. None starts one.
    """
    process = process or CheckProcess(start_method.context()[0])
    try:
        about = checked_bundle.origin(study.name, row.number, row.run_id, row.best_epoch, row.metrics)
        work, _ = checked_bundle.write_checked(
            checked_bundle.source_of(home, study.folder.trial(row.number), about),
            study.folder.bundle,
            ["keras"],
            process,
        )
        return work
    finally:
        process.kill()
