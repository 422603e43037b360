"""A finished trial's events put back: its reports and result from Optuna, its epochs from MLflow's metric histories."""

import csv
import itertools
import json
from typing import Any

from rnnexp import disk
from rnnexp.config.trial import load_trial
from rnnexp.errors import RnnexpError
from rnnexp.health import studies
from rnnexp.health.studies import TrialSnapshot
from rnnexp.home import Home
from rnnexp.storage import store as stores
from rnnexp.tracking.client import open_client
from rnnexp.trial import events
from rnnexp.trial.events import AttemptEnded, EpochEnded, Event, Finished, Started
from rnnexp.trial.states import FINISHED, State

_WITH_A_RESULT = (State.COMPLETE, State.PRUNED)


def missing(seen: TrialSnapshot) -> str:
    """Returns what a trial's events should hold and do not, in words; nothing where they are whole."""
    assert seen.trial is not None
    said = {epoch.epoch for epoch in events.epochs(seen.happened)}
    due = set(seen.trial.intermediate_values) | set(range(1, max(said, default=0) + 1))
    lacking = sorted(due - said)
    words = [f"epoch{'s' * (len(lacking) > 1)} {', '.join(map(str, lacking))}"] if lacking else []
    if seen.state in _WITH_A_RESULT or (said and seen.state in FINISHED):
        words += [] if any(isinstance(event, Started) for event in seen.happened) else ["its start"]
    if seen.state in _WITH_A_RESULT and not any(isinstance(event, Finished) for event in seen.happened):
        words.append("its result")
    return " and ".join(words)


def write(seen: TrialSnapshot, happened: list[Event]) -> str:
    """Writes the events anew."""
    disk.write_text(seen.folder.events, "".join(f"{events.encode(event)}\n" for event in happened))
    return "they are put back from Optuna and MLflow"


def restored(home: Home, seen: TrialSnapshot) -> list[Event] | None:
    """Returns a finished trial's events, whole and in order; None where they cannot be had."""
    run = _run(home, seen)
    epochs = _epochs(home, seen, run)
    started = [event for event in seen.happened if isinstance(event, Started)] or _started(run, seen)
    if epochs is None or not started:
        return None
    known = [event for event in seen.happened if not isinstance(event, Started | EpochEnded | Finished | AttemptEnded)]
    closing = [event for event in seen.happened if isinstance(event, AttemptEnded)]
    whole: list[Event] = [*started, *epochs]
    if seen.state in _WITH_A_RESULT:
        finished = [event for event in seen.happened if isinstance(event, Finished)]
        whole += finished or [_finished(seen, epochs, started[0].n_params)]
    whole += closing
    if not any(event.state == seen.state for event in closing):
        whole.append(_closed(seen, whole))
    order = {Started: 0, EpochEnded: 1, Finished: 2, AttemptEnded: 4}
    return sorted([*whole, *known], key=lambda event: (event.time, order.get(type(event), 3)))


def _run(home: Home, seen: TrialSnapshot) -> Any:
    """Returns the trial's run, None where MLflow has none or cannot be asked."""
    assert seen.trial is not None
    try:
        client = open_client(home)
        experiment = client.get_experiment_by_name(seen.study)
        wanted = {"rnnexp.trial": str(seen.number), "rnnexp.study_id": studies.identity(home, seen.study)}
        query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in wanted.items())
        return client.search_runs([experiment.experiment_id], filter_string=query)[-1]
    except Exception:  # a damaged or absent MLflow only means that it is no source
        return None


def _epochs(home: Home, seen: TrialSnapshot, run: Any) -> list[EpochEnded] | None:
    """Returns every epoch, those that the events lack from MLflow; None where one cannot be had."""
    assert seen.trial is not None
    said = {epoch.epoch: epoch for epoch in events.epochs(seen.happened)}
    reports = dict(seen.trial.intermediate_values)
    due = sorted(set(reports) | set(range(1, max(said, default=0) + 1)))
    absent = [epoch for epoch in due if epoch not in said]
    if not absent:
        return [said[epoch] for epoch in due]
    if run is None:
        return None
    points = _points(home, run)
    names = {name for epoch in points.values() for name in epoch}
    if any(epoch not in reports or set(points.get(epoch, {})) != names for epoch in absent):
        return None
    seconds = _seconds(seen, said, absent)
    for epoch in absent:
        metrics = {name: value for name, (value, _) in points[epoch].items()}
        when = max(when for _, when in points[epoch].values())
        said[epoch] = EpochEnded(when, epoch, metrics, seconds[epoch], 0, reports[epoch])
    return _with_best_epochs(seen, [said[epoch] for epoch in due])


def _points(home: Home, run: Any) -> dict[int, dict[str, tuple[float, float]]]:
    """Returns each epoch's metrics with their times; single numbers of the run are at step 0."""
    client, found = open_client(home), dict[int, dict[str, tuple[float, float]]]()
    for name in run.data.metrics:
        for point in client.get_metric_history(run.info.run_id, name):
            if point.step > 0:
                found.setdefault(point.step, {})[name] = (point.value, point.timestamp / 1000)
    return found


def _seconds(seen: TrialSnapshot, said: dict[int, EpochEnded], absent: list[int]) -> dict[int, float]:
    """Returns the seconds of the epochs: from the table beside the events, else of the whole what is left, evenly."""
    assert seen.trial is not None
    whole = seen.trial.user_attrs.get(stores.SUMMARY, {}).get("duration_s") or 0.0
    left = max(0.0, whole - sum(epoch.seconds for epoch in said.values())) / len(absent)
    found = dict.fromkeys(absent, left)
    try:
        with seen.folder.history.open(newline="", encoding="utf-8") as file:
            found |= {int(row["epoch"]): float(row["seconds"]) for row in csv.DictReader(file)}
    except (OSError, ValueError, KeyError, TypeError):
        return found
    return found


def _with_best_epochs(seen: TrialSnapshot, curve: list[EpochEnded]) -> list[EpochEnded]:
    """Fills in the best epoch so far: a report is the objective at that epoch, and the last is Optuna's own word."""
    assert seen.trial is not None
    told = seen.trial.user_attrs.get(stores.SUMMARY, {}).get("best_epoch")
    best, result = 0, []
    for epoch, before in zip(curve, [None, *curve], strict=False):
        if before is None or epoch.best_value != before.best_value:
            best = epoch.epoch
        if epoch is curve[-1] and told:
            best = told
        result.append(epoch if epoch.best_epoch else _replaced(epoch, best))
        best = result[-1].best_epoch
    return result


def _replaced(epoch: EpochEnded, best: int) -> EpochEnded:
    return EpochEnded(epoch.time, epoch.epoch, epoch.metrics, epoch.seconds, best, epoch.best_value)


def _started(run: Any, seen: TrialSnapshot) -> list[Started]:
    """The start, as far as MLflow knows it: what the run is labelled with, and the plan."""
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
    assert seen.trial is not None
    attempts = seen.trial.user_attrs.get(stores.ATTEMPTS, 1)
    return [Started(run.info.start_time / 1000, attempts, 0, 0, int(run.data.metrics["n_params"]), data, plan)]


def _finished(seen: TrialSnapshot, epochs: list[EpochEnded], n_params: int) -> Finished:
    """The result, from the curve; Optuna's summary names its best epoch."""
    assert seen.trial is not None
    best_epoch = seen.trial.user_attrs.get(stores.SUMMARY, {}).get("best_epoch") or epochs[-1].best_epoch
    metrics = next(epoch.metrics for epoch in epochs if epoch.epoch == best_epoch)
    ended: events.EndReason = "pruned"
    if seen.state is State.COMPLETE:
        try:
            planned = load_trial(seen.folder.config, {}).train.epochs
        except RnnexpError:
            planned = epochs[-1].epoch
        ended = "epochs" if epochs[-1].epoch == planned else "patience"
    seconds = list(itertools.accumulate(epoch.seconds for epoch in epochs))[-1]
    return Finished(epochs[-1].time, ended, best_epoch, metrics, n_params, seconds)


def _closed(seen: TrialSnapshot, happened: list[Event]) -> AttemptEnded:
    assert seen.trial is not None
    summary, attempts = seen.trial.user_attrs.get(stores.SUMMARY, {}), seen.trial.user_attrs.get(stores.ATTEMPTS, 1)
    when = max((event.time for event in happened), default=0.0)
    if seen.trial.datetime_complete is not None:
        when = max(when, seen.trial.datetime_complete.timestamp())
    return AttemptEnded(when, seen.state, summary.get("reason") or "", attempts)
