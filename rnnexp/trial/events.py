"""The events of a trial: the schema of `events.jsonl` and of the messages from the trial's process.

A trial's process appends `Started`, `EpochEnded`, `Paused`, `Finished` and `Failed`. After the process has ended, the
supervisor appends `AttemptEnded`, and later perhaps `Evicted`. If it ends a paused trial, it appends `Finished`, too.
Times are seconds since 1970. An incomplete line of a killed process is not an event.
"""

import dataclasses
import json
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rnnexp import disk
from rnnexp.trial.states import State

EndReason = Literal["epochs", "patience", "pruned", "diverged", "stopped"]

STOPPED_BY_HAND = "stopped by hand"
DIVERGED = "diverged"
PAUSED = "paused"
"""Kinds of an end, as the start of the reason that the user sees."""

MEASURED = ("cost/", "system/")
"""The beginnings of the names of what is measured, not computed: MLflow's charts make a section of each."""

RESUMES = "; it resumes from its last epoch"
"""The end of the reason of an attempt whose process died, if the trial will be retried."""
_RESUMES_IN_OLD_HOMES = "; it goes on from its last epoch"


@dataclass(frozen=True)
class Started:
    """An attempt has started to train.

    Attributes:
        attempt: from 1.
        from_epoch: epochs that earlier attempts completed; 0 at the first attempt.
        n_params: trainable weights.
        data: name, digests and row counts of the data.
        plan: the execution plan.
        study: the identity of the trial's study; empty if an earlier version wrote the event.
    """

    time: float
    attempt: int
    from_epoch: int
    pid: int
    n_params: int
    data: dict[str, Any]
    plan: dict[str, Any]
    study: str = ""


@dataclass(frozen=True)
class EpochEnded:
    """An epoch was trained, evaluated and saved.

    Attributes:
        epoch: from 1.
        metrics: loss, accuracy, val_loss, val_accuracy; clip/rate and clip/grad_norm. The same training gives the same.
        seconds: time of training and evaluation.
        best_epoch: the best epoch so far.
        best_value: the monitor at the best epoch.
        measured: what depends on the machine and on its load; the names begin with one of `MEASURED`.
    """

    time: float
    epoch: int
    metrics: dict[str, float]
    seconds: float
    best_epoch: int
    best_value: float
    measured: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Paused:
    """The process has ended because the trial was paused. Its checkpoint and its best model are on the disk.

    Attributes:
        epoch: the last epoch, from 1.
    """

    time: float
    epoch: int


@dataclass(frozen=True)
class Finished:
    """The trial has ended with a result: normally, or because it was pruned, was stopped by hand, or diverged.

    Attributes:
        ended: why it ended.
        best_epoch: the epoch of `best.keras`.
        metrics: the metrics of the best epoch.
        train_seconds: training time over all attempts.
        reason: one line for the user; empty for a normal end, and for a trial that was pruned while it ran.
    """

    time: float
    ended: EndReason
    best_epoch: int
    metrics: dict[str, float]
    n_params: int
    train_seconds: float
    reason: str = ""


@dataclass(frozen=True)
class Failed:
    """The trial failed.

    Attributes:
        kind: the name of a failure kind, such as `diverged`, `error`, `memory` or `data`.
        reason: one line.
        traceback: of the exception, if there was one.
    """

    time: float
    kind: str
    reason: str
    traceback: str = ""


@dataclass(frozen=True)
class AttemptEnded:
    """The supervisor has recorded the outcome of the attempt.

    Attributes:
        state: the name of an Optuna state: COMPLETE, PRUNED, FAIL; or WAITING if the trial will resume later.
        reason: one line; empty for a trial that is COMPLETE with its last epoch or by its patience.
        attempts: number of attempts so far.
    """

    time: float
    state: str
    reason: str = ""
    attempts: int = 1


@dataclass(frozen=True)
class Evicted:
    """The supervisor has removed the model of the trial because others are better."""

    time: float


@dataclass(frozen=True)
class Unknown:
    """An event that a newer version of the program has written. It keeps its place in the order."""

    time: float
    line: str


Event = Started | EpochEnded | Paused | Finished | Failed | AttemptEnded | Evicted | Unknown

_KINDS: dict[str, type[Any]] = {
    "started": Started,
    "epoch_ended": EpochEnded,
    "paused": Paused,
    "finished": Finished,
    "failed": Failed,
    "attempt_ended": AttemptEnded,
    "closed": AttemptEnded,  # in homes written before November 2026
    "evicted": Evicted,
}
_NAMES = {kind: name for name, kind in reversed(_KINDS.items())}


def encode(event: Event) -> str:
    """Returns the event as one line of JSON."""
    if isinstance(event, Unknown):
        return event.line
    return json.dumps({"event": _NAMES[type(event)], **dataclasses.asdict(event)})


def decode(line: str) -> Event:
    """Returns the event of a line; fields of a newer version are ignored.

    Raises:
        ValueError: if the line is not an event.
    """
    values = json.loads(line)
    if not isinstance(values, dict) or not isinstance(values.get("event"), str):
        raise ValueError(f"not an event: {line[:80]}")
    kind = _KINDS.get(values["event"])
    if kind is None:
        return Unknown(float(values.get("time") or 0.0), line)
    known = {field.name for field in dataclasses.fields(kind)}
    try:
        event: Event = kind(**{key: value for key, value in values.items() if key in known})
    except TypeError as error:
        raise ValueError(f"incomplete event: {line[:80]} ({error})") from None
    return event


def read(path: Path) -> list[Event]:
    """Returns the events of a file; none if there is no file. Incomplete lines are ignored."""
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    events = []
    for line in lines:
        try:
            events.append(decode(line.decode("utf-8")))
        except ValueError:
            continue  # an attempt was killed while it wrote; the next one appended after it
    return events


def append(path: Path, event: Event) -> None:
    """Appends one event, on a new line even after an incomplete one, and syncs it to the disk."""
    disk.append_line(path, encode(event))


def is_closed(trial_events: list[Event], state: str) -> bool:
    """Tells whether a trial's events end with the closing event of a state."""
    last = next((event for event in reversed(trial_events) if not isinstance(event, Evicted)), None)
    return isinstance(last, AttemptEnded) and last.state == state


def of_study(events: list[Event], identity: str) -> list[Event]:
    """Returns the events of one study; those of attempts that another study started are left out."""
    result, is_other = [], False
    for event in events:
        if isinstance(event, Started):
            is_other = bool(event.study and identity and event.study != identity)
        if not is_other:
            result.append(event)
    return result


def epochs(events: list[Event]) -> list[EpochEnded]:
    """Returns the epochs in order, each once: the curve of the trial over all attempts."""
    by_number = {event.epoch: event for event in events if isinstance(event, EpochEnded)}
    return [by_number[number] for number in sorted(by_number)]


def best_epoch(curve: list[EpochEnded]) -> EpochEnded:
    """Returns the best epoch of a curve with at least one epoch."""
    return next((epoch for epoch in curve if epoch.epoch == curve[-1].best_epoch), curve[-1])


def pause_reason(events: list[Event]) -> str:
    """Returns why a trial is paused; empty if it is not paused: it has resumed or ended since, or never was."""
    last = next((event for event in reversed(events) if not isinstance(event, Evicted)), None)
    is_pause = isinstance(last, AttemptEnded) and last.state == State.WAITING and last.reason.startswith(PAUSED)
    return last.reason if is_pause and isinstance(last, AttemptEnded) else ""


def n_crashes(events: list[Event]) -> int:
    """Returns how many attempts of the trial crashed and were retried."""
    return sum(
        isinstance(event, AttemptEnded) and event.reason.endswith((RESUMES, _RESUMES_IN_OLD_HOMES)) for event in events
    )


def costs(trial_events: list[Event]) -> dict[str, float]:
    """Returns what a trial costs, as far as its events tell: `train_seconds`, `n_params`, `ms_per_text`."""
    curve = epochs(trial_events)
    started = next((event for event in reversed(trial_events) if isinstance(event, Started)), None)
    times = [epoch.measured["cost/ms_per_text"] for epoch in curve if "cost/ms_per_text" in epoch.measured]
    found = {"train_seconds": sum(epoch.seconds for epoch in curve)} if curve else {}
    found |= {"n_params": float(started.n_params)} if started is not None else {}
    return found | ({"ms_per_text": statistics.median(times)} if times else {})


def summary(trial_events: list[Event], value: float | None, reason: str) -> dict[str, Any]:
    """Returns the fields of a finished trial for lists of trials: best epoch, metrics, costs, duration, reason.

    Args:
        trial_events: all events of the trial.
        value: of the objective; None if the trial has none.
        reason: why the trial was pruned or failed.
    """
    curve = epochs(trial_events)
    best_epoch = curve[-1].best_epoch if curve and value is not None else None
    return {
        "best_epoch": best_epoch,
        "metrics": next((epoch.metrics for epoch in curve if epoch.epoch == best_epoch), {}),
        "costs": costs(trial_events),
        "duration_s": round(sum(epoch.seconds for epoch in curve), 3),
        "reason": reason,
    }
