"""What must hold of a sweep that was broken: the stores agree with the event logs, and both with an undisturbed run.

Every check returns complaints, none where all is well.
"""

import csv
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnexp.errors import StudyError
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
    """The trials that were once seen finished; from then on they never change."""

    rows: dict[int, TrialRow] = field(default_factory=dict)

    def look(self, sweep: Sweep) -> list[str]:
        """Compares with what was seen before, and remembers what is seen now."""
        try:
            now = {row.number: row for row in sweep.view().trials}
        except StudyError as error:
            return [f"the study is gone: {error}"] if self.rows else []
        complaints = []
        for number, before in self.rows.items():
            after = now.get(number)
            if after is None:
                complaints.append(f"trial {number} was {before.state} and is gone")
            elif _essence(after) != _essence(before):
                complaints.append(f"trial {number} was {_essence(before)} and is {_essence(after)}")
        self.rows |= {number: row for number, row in now.items() if row.state in FINISHED}
        return complaints


def _essence(row: TrialRow) -> tuple[Any, ...]:
    return row.state, row.value, row.settings, row.best_epoch, row.metrics, row.attempts


def whole(sweep: Sweep, n_trials: int, epochs: int | None) -> list[str]:
    """Checks a study that is done.

    Args:
        sweep: whose.
        n_trials: its budget.
        epochs: of every trial; None where some fail.
    """
    rows = sweep.view().trials
    complaints = []
    if [row.number for row in rows] != list(range(n_trials)):
        complaints.append(f"trials {[row.number for row in rows]}, and the budget is {n_trials}")
    complaints += [f"trial {row.number} is {row.state}" for row in rows if row.state not in FINISHED]
    for row in rows:
        folder = sweep.home.study(sweep.study).trial(row.number)
        complaints += [f"trial {row.number}: {fault}" for fault in _record(folder, row, epochs)]
    complaints += _tracked(sweep, rows)
    complaints += [f"still alive: {left.pid} {left.command[:80]}" for left in processes.of_sessions(sweep.sessions)]
    complaints += [f"still alive: {left.pid} {left.command[:80]}" for left in processes.naming(sweep.world.home)]
    return complaints


def _record(folder: TrialFolder, row: TrialRow, epochs: int | None) -> Iterator[str]:
    """The trial's own files."""
    said = [event for event in events.read(folder.events) if isinstance(event, EpochEnded)]
    numbers = [event.epoch for event in said]
    if numbers != list(range(1, len(numbers) + 1)) or (epochs is not None and len(numbers) != epochs):
        yield f"its epochs are {numbers}"
    if folder.state.exists():
        yield "its mid-trial checkpoint is left"
    if row.state is State.COMPLETE:
        best = max(said, key=lambda event: (event.metrics["val_accuracy"], -event.epoch))
        if (row.value, row.best_epoch) != (best.metrics["val_accuracy"], best.epoch):
            yield f"its value is {row.value} at epoch {row.best_epoch}, its record says {best}"
    elif epochs is not None:
        yield f"is {row.state}: {row.reason}"
    if said:
        yield from _history(folder.history, said)


def _history(path: Path, said: list[EpochEnded]) -> Iterator[str]:
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    except OSError as error:
        yield f"no {path.name}: {error}"
        return
    found = [(int(row["epoch"]), {name: float(row[name]) for name in said[0].metrics}) for row in rows]
    if found != [(event.epoch, event.metrics) for event in said]:
        yield f"{path.name} and events.jsonl differ: {len(found)} rows, {len(said)} epochs"


def _tracked(sweep: Sweep, rows: tuple[TrialRow, ...]) -> list[str]:
    """The study's runs in MLflow."""
    server = sweep.world.server
    client = import_mlflow().MlflowClient(tracking_uri=server.address if server else sweep.home.mlflow_uri)
    experiment = client.get_experiment_by_name(sweep.study)
    if experiment is None:
        return ["MLflow has no experiment of the study"]
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    complaints = [f"MLflow: run {run.info.run_name} is RUNNING" for run in runs if run.info.status == "RUNNING"]
    by_trial: dict[str, list[Any]] = {}
    for run in runs:
        if "rnnexp.trial" in run.data.tags:
            by_trial.setdefault(run.data.tags["rnnexp.trial"], []).append(run)
    if sorted(map(int, by_trial)) != [row.number for row in rows]:
        complaints.append(f"MLflow has runs of trials {sorted(map(int, by_trial))}")
    for row in rows:
        its = by_trial.get(str(row.number), [])
        if len(its) != 1:
            complaints.append(f"MLflow has {len(its)} runs of trial {row.number}")
            continue
        folder = sweep.home.study(sweep.study).trial(row.number)
        complaints += [f"MLflow: trial {row.number}: {fault}" for fault in _run(client, its[0], row, folder)]
    return complaints


def _run(client: Any, run: Any, row: TrialRow, folder: TrialFolder) -> Iterator[str]:
    """One trial's run."""
    if run.info.status != RUN_STATUS[row.state] or run.data.tags.get("rnnexp.state") != row.state:
        yield f"is {run.info.status}, {run.data.tags.get('rnnexp.state')}; Optuna says {row.state}"
    if run.info.run_id != row.run_id:
        yield f"is {run.info.run_id}, its cursor says {row.run_id}"
    wrong = {name for name, value in row.settings.items() if run.data.params.get(name) != str(value)}
    if wrong:
        yield f"other settings: {wrong}"
    said = [event for event in events.read(folder.events) if isinstance(event, EpochEnded)]
    for name in said[0].metrics if said else ():
        curve = [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]
        if sorted(curve) != [(event.epoch, event.metrics[name]) for event in said]:
            yield f"{name} has steps {[step for step, _ in sorted(curve)]} and differs from events.jsonl"
    if row.state is State.COMPLETE and run.data.metrics.get("best_val_accuracy") != row.value:
        yield f"best_val_accuracy is {run.data.metrics.get('best_val_accuracy')}, Optuna says {row.value}"
    if "checkpoints" not in {item.path for item in client.list_artifacts(run.info.run_id)} and folder.best.exists():
        yield "its model is not there"


def same(sweep: Sweep, reference: Sweep) -> list[str]:
    """Compares every trial with the same trial of an undisturbed run: settings, value, curve, weights bit for bit."""
    undisturbed = {row.number: row for row in reference.view().trials}
    complaints = []
    for row in sweep.view().trials:
        complaints += [f"trial {row.number}: {fault}" for fault in differs(sweep, row, reference, undisturbed)]
    return complaints


def differs(sweep: Sweep, row: TrialRow, reference: Sweep, undisturbed: dict[int, TrialRow]) -> Iterator[str]:
    """Says in what one trial differs from its undisturbed twin."""
    twin = undisturbed[row.number]
    ours = sweep.home.study(sweep.study).trial(row.number)
    theirs = reference.home.study(reference.study).trial(row.number)
    if (row.settings, row.value, row.best_epoch) != (twin.settings, twin.value, twin.best_epoch):
        yield f"{row.settings} {row.value} at {row.best_epoch}; undisturbed {twin.settings} {twin.value}"
    curves = [[one.metrics for one in events.epochs(events.read(folder.events))] for folder in (ours, theirs)]
    if curves[0] != curves[1]:
        yield "its curve is not that of the undisturbed run"
    if not ours.best.exists():
        yield "its best model is gone"
    elif not _equal(weights(ours.best), weights(theirs.best)):
        yield "its weights are not those of the undisturbed run"


def weights(path: Path) -> dict[str, NDArray[Any]]:
    """Returns every array of a saved model, by its place."""
    import h5py

    found: dict[str, NDArray[Any]] = {}

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = np.asarray(item)

    with zipfile.ZipFile(path) as parts, h5py.File(io.BytesIO(parts.read("model.weights.h5"))) as file:
        file.visititems(note)
    return found


def _equal(ours: dict[str, NDArray[Any]], theirs: dict[str, NDArray[Any]]) -> bool:
    return ours.keys() == theirs.keys() and all(
        values.dtype == theirs[name].dtype and values.tobytes() == theirs[name].tobytes()
        for name, values in ours.items()
    )
