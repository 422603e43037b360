"""Builds the params, metrics, tags and data sets that MLflow shows for a trial's events. Sends nothing."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnnexp.tracking.descriptions import (
    COLOR,
    FAILED_COLOR,
    NAME,
    NOTE,
    PRUNED_COLOR,
    Outcome,
    StudyText,
    run_name,
    trial_note,
)
from rnnexp.trial import events
from rnnexp.trial.events import AttemptEnded, Event, Failed, Finished, Started
from rnnexp.trial.states import FINISHED, State

_LOG_TAIL_BYTES, _LOG_TAIL_LINES = 4000, 20


def setting_params(sections: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Returns each setting under its dotted name, from the sections of a trial's `config.yaml`."""
    return {f"{section}.{key}": value for section, values in sections.items() for key, value in values.items()}


def start_tags(event: Started) -> dict[str, str]:
    """Returns the tags of a run whose attempt has started."""
    return {
        "rnnexp.state": State.RUNNING,
        "rnnexp.attempts": str(event.attempt),
        "rnnexp.data": event.data["name"],
        "rnnexp.plan": json.dumps(event.plan),
    }


def dataset_inputs(data: Mapping[str, Any]) -> list[Any]:
    """Returns the data set for MLflow's run page: once as the training set, once as the validation set."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = []
    for context, rows in (("training", data["n_train"]), ("validation", data["n_validation"])):
        profile = {"num_rows": rows, "labels": data["labels"], "split": data["split"]}
        inputs.append(
            DatasetInput(
                Dataset(
                    name=data["name"],
                    digest=f"{data['digest'][:16]}-{data['split'][:8]}-{context[:5]}",
                    source_type="local",
                    source=json.dumps({"uri": data["source"]}),
                    profile=json.dumps(profile),
                ),
                tags=[InputTag("mlflow.data.context", context)],
            )
        )
    return inputs


def result_metrics(event: Finished) -> dict[str, float]:
    """Returns the metrics that a run has once, not per epoch."""
    best = {f"best_{name}": value for name, value in event.metrics.items() if name.startswith("val_")}
    return best | {"best_epoch": event.best_epoch, "n_params": event.n_params, "train_seconds": event.train_seconds}


def partial_result(trial_events: list[Event], ended: AttemptEnded) -> Finished | None:
    """Returns the result so far of a trial that was ended from outside; None if it finished no epoch."""
    curve = events.epochs(trial_events)
    if not curve:
        return None
    best = events.best_epoch(curve)
    n_params = next(event.n_params for event in trial_events if isinstance(event, Started))
    seconds = sum(epoch.seconds for epoch in curve)
    return Finished(ended.time, "pruned", best.epoch, best.metrics, n_params, seconds)


def end_tags(
    number: int,
    event: AttemptEnded,
    trial_events: list[Event],
    settings: Mapping[str, Any],
    study: StudyText,
    log: Path,
) -> dict[str, str]:
    """Returns the tags of a run whose attempt has ended.

    Args:
        number: of the trial.
        event: the end of the attempt.
        trial_events: all events of the trial.
        settings: all its settings by their dotted names.
        study: what is known of its study.
        log: the trial's log file.
    """
    state = State(event.state)
    tags = {"rnnexp.state": event.state, "rnnexp.attempts": str(event.attempts)}
    if event.reason:
        tags["rnnexp.reason"] = event.reason
    if state not in FINISHED:
        return tags
    curve = events.epochs(trial_events)
    best = events.best_epoch(curve) if curve and state is not State.FAIL else None
    outcome = Outcome(
        state,
        event.reason,
        study.metric,
        best.metrics.get(study.metric) if best else None,
        best.epoch if best else None,
        sum(epoch.seconds for epoch in curve),
        {name: settings[name] for name in study.searched if settings.get(name) is not None},
    )
    details = _failure_details(trial_events, log) if state is State.FAIL else []
    tags[NAME] = run_name(number, settings, outcome.value)
    tags[NOTE] = trial_note(outcome, details=details)
    colors = {State.PRUNED: PRUNED_COLOR, State.FAIL: FAILED_COLOR}
    return tags | ({COLOR: colors[state]} if state in colors else {})


def _failure_details(trial_events: list[Event], log: Path) -> list[str]:
    """Returns paragraphs of a failed run's description: traceback, end of the log."""
    log_tail: list[str] = []
    if log.exists():
        log_tail = log.read_bytes()[-_LOG_TAIL_BYTES:].decode("utf-8", "replace").splitlines()[-_LOG_TAIL_LINES:]
    tracebacks = [event.traceback for event in trial_events if isinstance(event, Failed) and event.traceback]
    blocks = [("Traceback", tracebacks[-1])] if tracebacks else []
    blocks += [("The end of its log", "\n".join(log_tail))] if log_tail else []
    return [f"{title}:\n\n```\n{text.strip()}\n```" for title, text in blocks]
