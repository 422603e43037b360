"""Checks of a sweep with faults: Optuna, MLflow and the event logs agree with each other and with a reference run.

Every check returns a list of problems, which is empty if all is well.
"""

import csv
import io
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnexp import disk
from rnnexp.errors import StudyError, UserError
from rnnexp.export.bundle import Bundle
from rnnexp.home import TrialFolder
from rnnexp.storage.views import TrialRow
from rnnexp.tracking.client import import_mlflow
from rnnexp.trial import events
from rnnexp.trial.events import EpochEnded
from rnnexp.trial.states import FINISHED, RUN_STATUS, State
from tests.drill import processes
from tests.drill.sweeps import Sweep


@dataclass
class TrialSnapshot:
    """The finished trials that were seen so far; a finished trial must never change."""

    rows: dict[int, TrialRow] = field(default_factory=dict)

    def update(self, sweep: Sweep) -> list[str]:
        """Compares the study with what was seen before, then stores what is seen now."""
        try:
            now = {row.number: row for row in sweep.view().trials}
        except StudyError as error:
            return [f"the study is gone: {error}"] if self.rows else []
        problems = []
        for number, before in self.rows.items():
            after = now.get(number)
            if after is None:
                problems.append(f"trial {number} was {before.state} and is gone")
            elif _fixed_fields(after) != _fixed_fields(before):
                problems.append(f"trial {number} was {_fixed_fields(before)} and is now {_fixed_fields(after)}")
        self.rows |= {number: row for number, row in now.items() if row.state in FINISHED}
        return problems


def _fixed_fields(row: TrialRow) -> tuple[Any, ...]:
    return row.state, row.value, row.settings, row.best_epoch, row.metrics, row.attempts


def check_finished_study(sweep: Sweep, n_trials: int, epochs: int | None) -> list[str]:
    """Checks a study whose budget is used up.

    Args:
        sweep: the sweep to check.
        n_trials: its budget.
        epochs: the number of epochs of every trial; None if some trials fail.
    """
    rows = sweep.view().trials
    problems = []
    if [row.number for row in rows] != list(range(n_trials)):
        problems.append(f"the trials are {[row.number for row in rows]}, but the budget is {n_trials}")
    problems += [f"trial {row.number} is {row.state}" for row in rows if row.state not in FINISHED]
    for row in rows:
        folder = sweep.home.study(sweep.study).trial(row.number)
        problems += [f"trial {row.number}: {problem}" for problem in _check_files(folder, row, epochs)]
    problems += check_mlflow(sweep, rows)
    problems += _check_bundle(sweep)
    problems += [f"still alive: {process}" for process in processes.in_sessions(sweep.sessions)]
    problems += [f"still alive: {process}" for process in processes.with_folder_in_command(sweep.sandbox.home)]
    return problems


def _check_bundle(sweep: Sweep) -> Iterator[str]:
    """Checks that the bundle of the best model is complete, is in MLflow, and that no other start has left a part."""
    folder = sweep.home.study(sweep.study)
    best = sweep.view().best
    if best is None:
        return
    try:
        bundle = Bundle.open(folder.bundle)
    except UserError as error:
        yield f"the bundle of the best model: {error}"
        return
    if bundle.manifest["trial"] != best.number:
        yield f"the bundle is of trial {bundle.manifest['trial']}, but the best is {best.number}"
    if not has_registered_model(sweep):
        yield "MLflow has no registered model of the study"
    for path in folder.root.glob(f".{folder.bundle.name}-*"):
        yield f"an incomplete bundle was left: {path.name}"


def _check_files(folder: TrialFolder, row: TrialRow, epochs: int | None) -> Iterator[str]:
    """Checks the trial's own files against Optuna."""
    curve = _curve(folder)
    numbers = [event.epoch for event in curve]
    if numbers != list(range(1, len(numbers) + 1)) or (epochs is not None and len(numbers) != epochs):
        yield f"its epochs are {numbers}"
    if folder.state.exists():
        yield "its mid-trial checkpoint was not removed"
    if row.state is State.COMPLETE:
        best = max(curve, key=lambda event: (event.metrics["val_accuracy"], -event.epoch))
        if (row.value, row.best_epoch) != (best.metrics["val_accuracy"], best.epoch):
            yield f"Optuna has value {row.value} at epoch {row.best_epoch}; events.jsonl has {best}"
    elif epochs is not None:
        yield f"is {row.state}: {row.reason}"
    if curve:
        yield from _check_history(folder.history, curve)


def _curve(folder: TrialFolder) -> list[EpochEnded]:
    """Returns the epochs as events.jsonl has them, before any repeated epoch is removed."""
    return [event for event in events.read(folder.events) if isinstance(event, EpochEnded)]


def _check_history(path: Path, curve: list[EpochEnded]) -> Iterator[str]:
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    except OSError as error:
        yield f"no {path.name}: {error}"
        return
    found = [(int(row["epoch"]), {name: float(row[name]) for name in curve[0].metrics}) for row in rows]
    if found != [(event.epoch, event.metrics) for event in curve]:
        yield f"{path.name} and events.jsonl differ: {len(found)} rows, {len(curve)} epochs"


def check_mlflow(sweep: Sweep, rows: tuple[TrialRow, ...]) -> list[str]:
    """Checks the study's runs in MLflow against Optuna and the event logs; another home may use the same experiment."""
    client = _client(sweep)
    experiment = client.get_experiment_by_name(sweep.study)
    if experiment is None:
        return ["MLflow has no experiment for the study"]
    own = f"tags.`rnnexp.study_id` = '{sweep.view().identity}'"
    runs = client.search_runs([experiment.experiment_id], filter_string=own, max_results=1000)
    problems = [f"MLflow: run {run.info.run_name} is RUNNING" for run in runs if run.info.status == "RUNNING"]
    by_trial: dict[str, list[Any]] = {}
    for run in runs:
        if "rnnexp.trial" in run.data.tags:
            by_trial.setdefault(run.data.tags["rnnexp.trial"], []).append(run)
    if sorted(map(int, by_trial)) != [row.number for row in rows]:
        problems.append(f"MLflow has runs of trials {sorted(map(int, by_trial))}")
    for row in rows:
        trial_runs = by_trial.get(str(row.number), [])
        if len(trial_runs) != 1:
            problems.append(f"MLflow has {len(trial_runs)} runs of trial {row.number}")
            continue
        folder = sweep.home.study(sweep.study).trial(row.number)
        problems += [
            f"MLflow: trial {row.number}: {problem}" for problem in _check_run(client, trial_runs[0], row, folder)
        ]
    own_runs = [run for run in runs if run.data.tags.get("rnnexp.kind") == "study"]
    n_expected = int(sweep.view().best is not None)  # without a best trial there is nothing to report
    if len(own_runs) != n_expected:
        return [*problems, f"MLflow has {len(own_runs)} runs of the study itself, expected {n_expected}"]
    return [*problems, *(problem for run in own_runs for problem in _check_report(client, run, sweep))]


def _check_report(client: Any, run: Any, sweep: Sweep) -> Iterator[str]:
    """Checks that the study's own run has the last report, whole."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            published = Path(client.download_artifacts(run.info.run_id, "report.html", folder)).read_bytes()
        except Exception as error:  # MLflow's errors have no common class for a local and a remote place
            yield f"MLflow has no report of the study: {error}"
            return
    page = sweep.home.study(sweep.study).report.read_bytes()
    if published != page:
        yield f"MLflow's report has {len(published)} bytes, but the study's has {len(page)}"
    if not page.rstrip().endswith(b"</html>"):
        yield "the study's report is cut off"


def _client(sweep: Sweep) -> Any:
    address = sweep.sandbox.mlflow_address or sweep.home.mlflow_uri
    return import_mlflow().MlflowClient(tracking_uri=address, registry_uri=address)


def has_registered_model(sweep: Sweep) -> bool:
    """Tells whether MLflow has a version of the study's registered model that is one of this home's trials."""
    run_ids = {row.run_id for row in sweep.view().trials}
    versions = _client(sweep).search_model_versions(f"name = '{sweep.study}'")
    return any(version.tags.get("rnnexp.run_id") in run_ids for version in versions)


def _check_run(client: Any, run: Any, row: TrialRow, folder: TrialFolder) -> Iterator[str]:
    """Checks one trial's run."""
    if run.info.status != RUN_STATUS[row.state] or run.data.tags.get("rnnexp.state") != row.state:
        yield f"is {run.info.status}, {run.data.tags.get('rnnexp.state')}; in Optuna it is {row.state}"
    if run.info.run_id != row.run_id:
        yield f"its run is {run.info.run_id}, but its cursor names {row.run_id}"
    wrong = {name for name, value in row.settings.items() if run.data.params.get(name) != str(value)}
    if wrong:
        yield f"its params differ from the settings: {wrong}"
    curve = _curve(folder)
    for name in curve[0].metrics if curve else ():
        points = [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]
        if sorted(points) != [(event.epoch, event.metrics[name]) for event in curve]:
            yield f"{name} has steps {[step for step, _ in sorted(points)]} and differs from events.jsonl"
    if row.state is State.COMPLETE and run.data.metrics.get("best_val_accuracy") != row.value:
        yield f"best_val_accuracy is {run.data.metrics.get('best_val_accuracy')}; in Optuna it is {row.value}"
    if "checkpoints" not in {item.path for item in client.list_artifacts(run.info.run_id)} and folder.best.exists():
        yield "its model was not logged"


def check_same_as_reference(sweep: Sweep, reference: Sweep) -> list[str]:
    """Compares every trial with the same trial of the reference: settings, value, curve, weights bit for bit."""
    reference_rows = {row.number: row for row in reference.view().trials}
    problems = []
    for row in sweep.view().trials:
        problems += [
            f"trial {row.number}: {problem}" for problem in trial_differences(sweep, row, reference, reference_rows)
        ]
    return problems


def trial_differences(
    sweep: Sweep, row: TrialRow, reference: Sweep, reference_rows: dict[int, TrialRow]
) -> Iterator[str]:
    """Yields the differences between one trial and the same trial of the reference run."""
    expected = reference_rows[row.number]
    folder = sweep.home.study(sweep.study).trial(row.number)
    reference_folder = reference.home.study(reference.study).trial(row.number)
    if (row.settings, row.value, row.best_epoch) != (expected.settings, expected.value, expected.best_epoch):
        yield (
            f"{row.settings} {row.value} at epoch {row.best_epoch}; "
            f"reference: {expected.settings} {expected.value} at epoch {expected.best_epoch}"
        )
    curves = [
        [epoch.metrics for epoch in events.epochs(events.read(each.events))] for each in (folder, reference_folder)
    ]
    if curves[0] != curves[1]:
        yield "its curve differs from the reference run's"
    fault = disk.zip_fault(folder.best)
    if fault:
        yield f"its best model cannot be read: {fault}"
    elif not _equal(load_weights(folder.best), load_weights(reference_folder.best)):
        yield "its weights differ from the reference run's"


def load_weights(path: Path) -> dict[str, NDArray[Any]]:
    """Returns every array of a saved model by its path in the HDF5 file."""
    import h5py

    arrays: dict[str, NDArray[Any]] = {}

    def add(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = np.asarray(item)

    with zipfile.ZipFile(path) as parts, h5py.File(io.BytesIO(parts.read("model.weights.h5"))) as file:
        file.visititems(add)
    return arrays


def _equal(arrays: dict[str, NDArray[Any]], others: dict[str, NDArray[Any]]) -> bool:
    return arrays.keys() == others.keys() and all(
        values.dtype == others[name].dtype and values.tobytes() == others[name].tobytes()
        for name, values in arrays.items()
    )
