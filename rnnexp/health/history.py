"""Restores the events of a finished trial: reports and result from Optuna, epochs from MLflow's metric histories."""

import csv
import itertools
import json
from collections.abc import Callable, Iterable
from typing import Any

from rnnexp import addresses, disk
from rnnexp.config.trial import load_trial
from rnnexp.errors import RnnexpError
from rnnexp.health import studies
from rnnexp.health.studies import TrialSnapshot
from rnnexp.home import Home
from rnnexp.storage import metadata
from rnnexp.tracking import maintenance
from rnnexp.tracking.client import open_client
from rnnexp.tracking.ownership import Ownership
from rnnexp.trial import events
from rnnexp.trial.cursor import OWN, Cursor
from rnnexp.trial.events import AttemptEnded, EpochEnded, Event, Finished, Started
from rnnexp.trial.progress import Progress
from rnnexp.trial.states import FINISHED, State


def _has_result(snapshot: TrialSnapshot) -> bool:
    """Tells whether a trial ended with a result. A pruned trial without a value diverged in its first epoch."""
    return snapshot.state is State.COMPLETE or (snapshot.state is State.PRUNED and snapshot.trial.value is not None)


def missing(snapshot: TrialSnapshot) -> str:
    """Returns in words what is missing from a trial's events; an empty text if they are complete."""
    recorded = events.epochs(snapshot.events)
    _, absent = _expected_epochs(snapshot)
    words = [f"epoch{'s' * (len(absent) > 1)} {', '.join(map(str, absent))}"] if absent else []
    if _has_result(snapshot) or (recorded and snapshot.state in FINISHED):
        words += [] if any(isinstance(event, Started) for event in snapshot.events) else ["its start"]
    if _has_result(snapshot) and not any(isinstance(event, Finished) for event in snapshot.events):
        words.append("its result")
    return " and ".join(words)


def write(snapshot: TrialSnapshot, trial_events: list[Event]) -> str:
    """Replaces the trial's events."""
    disk.write_text(snapshot.folder.events, "".join(f"{events.encode(event)}\n" for event in trial_events))
    return "they are restored from Optuna and MLflow"


class UnavailableError(Exception):
    """MLflow cannot be asked now, so it is not known whether it has what is missing."""


class MlflowHistory:
    """The runs in the home's MLflow, with the points of their metrics.

    After an error it asks no more: a server that is out of reach answers only after the client's time limit.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._fault: str | None = None

    def run(self, snapshot: TrialSnapshot) -> Any:
        """Returns the trial's run; None if MLflow has none; raises `UnavailableError`."""
        cursor, home = Cursor.load(snapshot.folder.tracking), self._home
        if cursor.run_id is not None and cursor.store != (home.tracking_server or OWN):
            place = "the home's own MLflow" if cursor.store == OWN else cursor.store
            raise UnavailableError(f"its run is in {place}; MLFLOW_TRACKING_URI names another MLflow")
        if home.tracking_server is None and not home.mlflow_db.exists():
            return None
        ownership = Ownership.of(home, snapshot.study, studies.identity(home, snapshot.study))
        return self._ask(lambda client: maintenance.find_trial_run(client, ownership, snapshot.number))

    def points(self, run: Any) -> dict[int, dict[str, tuple[float, float]]]:
        """Returns the points of a run's metrics as `maintenance.epoch_metrics` does; raises `UnavailableError`."""
        points: dict[int, dict[str, tuple[float, float]]] = self._ask(
            lambda client: maintenance.epoch_metrics(client, run)
        )
        return points

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        if self._fault is None:
            try:
                return question(open_client(self._home))
            except Exception as error:
                self._fault = f"MLflow cannot be read now ({addresses.one_line(error)})"
        raise UnavailableError(self._fault)


def restored(snapshot: TrialSnapshot, mlflow: MlflowHistory) -> list[Event] | None:
    """Returns the complete events of a finished trial, in order; None if they cannot be restored.

    Raises:
        UnavailableError: if MLflow is needed and cannot be asked now.
    """
    run = mlflow.run(snapshot) if _needs_mlflow(snapshot) else None
    epochs = _epochs(snapshot, run, mlflow)
    started = [event for event in snapshot.events if isinstance(event, Started)] or _started(run, snapshot)
    if epochs is None or not started or (_lacks_reports(snapshot) and not _has_its_end(snapshot, epochs)):
        return None
    other = [
        event for event in snapshot.events if not isinstance(event, Started | EpochEnded | Finished | AttemptEnded)
    ]
    closing = [event for event in snapshot.events if isinstance(event, AttemptEnded)]
    complete: list[Event] = [*started, *epochs]
    if _has_result(snapshot):
        finished = [event for event in snapshot.events if isinstance(event, Finished)]
        complete += finished or [_finished(snapshot, epochs, started[0].n_params)]
    complete += closing
    if not any(event.state == snapshot.state for event in closing):
        complete.append(_closing_event(snapshot, complete))
    order = {Started: 0, EpochEnded: 1, Finished: 2, AttemptEnded: 4}
    return sorted([*complete, *other], key=lambda event: (event.time, order.get(type(event), 3)))


def _expected_epochs(snapshot: TrialSnapshot, known: Iterable[int] = ()) -> tuple[list[int], list[int]]:
    """Returns the numbers of the epochs that the trial has completed, and those whose events are absent.

    Args:
        snapshot: the trial.
        known: epochs that MLflow has.
    """
    recorded = {epoch.epoch for epoch in events.epochs(snapshot.events)}
    best = snapshot.trial.user_attrs.get(metadata.SUMMARY, {}).get("best_epoch") or 0
    reported = {*snapshot.trial.intermediate_values, *known}
    expected = sorted(reported | set(range(1, max(best, *recorded, *reported, 0) + 1)))
    return expected, [epoch for epoch in expected if epoch not in recorded]


def _needs_mlflow(snapshot: TrialSnapshot) -> bool:
    """Tells whether epochs or the start are missing: everything else is in Optuna."""
    _, absent = _expected_epochs(snapshot)
    is_started = any(isinstance(event, Started) for event in snapshot.events)
    return bool(absent) or not is_started or _lacks_reports(snapshot)


def _lacks_reports(snapshot: TrialSnapshot) -> bool:
    """Tells whether only MLflow may know the last epochs: with several objectives, Optuna gets no reports."""
    has_finished = any(isinstance(event, Finished) for event in snapshot.events)
    return _has_result(snapshot) and not has_finished and not snapshot.trial.intermediate_values


def _has_its_end(snapshot: TrialSnapshot, epochs: list[EpochEnded]) -> bool:
    """Tells whether a trial may have ended after these epochs: all were trained, or there was a reason to end."""
    if snapshot.trial.user_attrs.get(metadata.SUMMARY, {}).get("reason"):
        return True
    try:
        progress = Progress(load_trial(snapshot.folder.config, {}).train, [epoch.metrics for epoch in epochs])
    except RnnexpError:
        return False
    return progress.epoch == progress.train.epochs or progress.out_of_patience


def _epochs(snapshot: TrialSnapshot, run: Any, mlflow: MlflowHistory) -> list[EpochEnded] | None:
    """Returns all epochs, the missing ones from MLflow; None if one cannot be restored."""
    recorded = {epoch.epoch: epoch for epoch in events.epochs(snapshot.events)}
    points = mlflow.points(run) if run is not None and _needs_mlflow(snapshot) else {}
    expected, absent = _expected_epochs(snapshot, points if _lacks_reports(snapshot) else ())
    if not absent:
        return [recorded[epoch] for epoch in expected]
    names = {name for epoch in points.values() for name in epoch}
    if not names or any(set(points.get(epoch, {})) != names for epoch in absent):
        return None
    reports = _reports(snapshot, expected, recorded, points)
    if reports is None:
        return None
    seconds = _seconds(snapshot, recorded, absent)
    for epoch in absent:
        metrics = {name: value for name, (value, _) in points[epoch].items()}
        when = max(when for _, when in points[epoch].values())
        recorded[epoch] = EpochEnded(when, epoch, metrics, seconds[epoch], 0, reports[epoch])
    return _with_best_epochs(snapshot, [recorded[epoch] for epoch in expected])


def _reports(
    snapshot: TrialSnapshot,
    expected: list[int],
    recorded: dict[int, EpochEnded],
    points: dict[int, dict[str, tuple[float, float]]],
) -> dict[int, float] | None:
    """Returns the objective at the best epoch until each epoch: Optuna's reports, else from the metrics."""
    if snapshot.trial.intermediate_values:
        reports = dict(snapshot.trial.intermediate_values)
        return reports if reports.keys() >= set(expected) - recorded.keys() else None
    try:
        progress = Progress(load_trial(snapshot.folder.config, {}).train)
    except RnnexpError:
        return None
    reports = {}
    for epoch in expected:
        known = recorded.get(epoch)
        values = known.metrics if known else {name: value for name, (value, _) in points[epoch].items()}
        progress.curve.append(values)
        if not values.keys() >= {progress.train.monitor, progress.train.best_metric}:
            return None
        reports[epoch] = progress.best_value
    return reports


def _seconds(snapshot: TrialSnapshot, recorded: dict[int, EpochEnded], absent: list[int]) -> dict[int, float]:
    """Returns the duration of the absent epochs: from `history.csv`, else an equal share of the remaining time."""
    total = snapshot.trial.user_attrs.get(metadata.SUMMARY, {}).get("duration_s") or 0.0
    left = max(0.0, total - sum(epoch.seconds for epoch in recorded.values())) / len(absent)
    found = dict.fromkeys(absent, left)
    try:
        with snapshot.folder.history.open(newline="", encoding="utf-8") as file:
            found |= {int(row["epoch"]): float(row["seconds"]) for row in csv.DictReader(file)}
    except (OSError, ValueError, KeyError, TypeError):
        return found
    return found


def _with_best_epochs(snapshot: TrialSnapshot, curve: list[EpochEnded]) -> list[EpochEnded]:
    """Fills in the best epoch so far.

    A report to Optuna is the objective at that epoch; Optuna's summary contains the last one.
    """
    final_best = snapshot.trial.user_attrs.get(metadata.SUMMARY, {}).get("best_epoch")
    best, result = 0, []
    for epoch, before in zip(curve, [None, *curve], strict=False):
        if before is None or epoch.best_value != before.best_value:
            best = epoch.epoch
        if epoch is curve[-1] and final_best:
            best = final_best
        result.append(epoch if epoch.best_epoch else _replaced(epoch, best))
        best = result[-1].best_epoch
    return result


def _replaced(epoch: EpochEnded, best: int) -> EpochEnded:
    return EpochEnded(epoch.time, epoch.epoch, epoch.metrics, epoch.seconds, best, epoch.best_value)


def _started(run: Any, snapshot: TrialSnapshot) -> list[Started]:
    """Returns the start event, from the run's data sets and its plan; nothing if MLflow does not have them."""
    if run is None or "n_params" not in run.data.metrics:
        return []
    data: dict[str, Any] = {}
    try:
        for dataset, context in ((item.dataset, item.tags[0].value) for item in run.inputs.dataset_inputs):
            profile = json.loads(dataset.profile)
            digest, _ = dataset.digest.split("-", 1)
            data |= {"name": dataset.name, "digest": digest, "split": profile["split"], "labels": profile["labels"]}
            data |= {f"n_{'train' if context == 'training' else 'validation'}": profile["num_rows"]}
            data["source"] = json.loads(dataset.source)["uri"]
        plan = json.loads(run.data.tags["rnnexp.plan"])
    except (KeyError, ValueError, IndexError):
        return []
    if not {"n_train", "n_validation"} <= set(data):
        return []
    attempts = snapshot.trial.user_attrs.get(metadata.ATTEMPTS, 1)
    return [Started(run.info.start_time / 1000, attempts, 0, 0, int(run.data.metrics["n_params"]), data, plan)]


def _finished(snapshot: TrialSnapshot, epochs: list[EpochEnded], n_params: int) -> Finished:
    """Returns the result, from the curve and the best epoch in Optuna's summary."""
    summary = snapshot.trial.user_attrs.get(metadata.SUMMARY, {})
    best_epoch, reason = summary.get("best_epoch") or epochs[-1].best_epoch, summary.get("reason") or ""
    metrics = next(epoch.metrics for epoch in epochs if epoch.epoch == best_epoch)
    ended: events.EndReason = "stopped" if reason == events.STOPPED_BY_HAND else "pruned"
    if snapshot.state is State.COMPLETE and reason.startswith(events.DIVERGED):
        ended = "diverged"
    elif snapshot.state is State.COMPLETE:
        try:
            planned = load_trial(snapshot.folder.config, {}).train.epochs
        except RnnexpError:
            planned = epochs[-1].epoch
        ended = "epochs" if epochs[-1].epoch == planned else "patience"
    seconds = list(itertools.accumulate(epoch.seconds for epoch in epochs))[-1]
    said = reason if ended in ("stopped", "diverged") else ""
    return Finished(epochs[-1].time, ended, best_epoch, metrics, n_params, seconds, said)


def _closing_event(snapshot: TrialSnapshot, trial_events: list[Event]) -> AttemptEnded:
    attributes = snapshot.trial.user_attrs
    reason, attempts = attributes.get(metadata.SUMMARY, {}).get("reason") or "", attributes.get(metadata.ATTEMPTS, 1)
    when = max((event.time for event in trial_events), default=0.0)
    if snapshot.trial.datetime_complete is not None:
        when = max(when, snapshot.trial.datetime_complete.timestamp())
    return AttemptEnded(when, snapshot.state, reason, attempts)
