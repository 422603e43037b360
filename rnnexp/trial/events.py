"""What happens to a trial, as values: the schema of `events.jsonl` and of what the trial's process sends.

A trial's process appends `Started`, `EpochEnded`, `Finished` and `Failed`; when the process has ended, the supervisor
appends `AttemptEnded`, and later perhaps `Evicted`. Times are seconds since 1970. A line that a killed process left
unfinished is not an event.
"""

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

EndReason = Literal["epochs", "patience", "pruned"]

RESUMES = "; it resumes from its last epoch"
"""The end of the reason of an attempt whose process died, where the trial will be retried."""
_RESUMES_UNTIL_0_1 = "; it goes on from its last epoch"


@dataclass(frozen=True)
class Started:
    """An attempt has begun to train.

    Attributes:
        attempt: from 1.
        from_epoch: epochs that are already done; 0 at a first attempt.
        n_params: trainable weights.
        data: name, digests and row counts of what is trained on.
        plan: the execution plan.
    """

    time: float
    attempt: int
    from_epoch: int
    pid: int
    n_params: int
    data: dict[str, Any]
    plan: dict[str, Any]


@dataclass(frozen=True)
class EpochEnded:
    """An epoch is trained, measured and saved.

    Attributes:
        epoch: from 1.
        metrics: loss, accuracy, val_loss, val_accuracy; clip_rate and grad_norm.
        seconds: of training and measuring.
        best_epoch: the best so far.
        best_value: the monitor at the best epoch.
    """

    time: float
    epoch: int
    metrics: dict[str, float]
    seconds: float
    best_epoch: int
    best_value: float


@dataclass(frozen=True)
class Finished:
    """The trial has ended by itself, or because it was told that it is pruned.

    Attributes:
        ended: what ended it.
        best_epoch: the epoch of `best.keras`.
        metrics: those of the best epoch.
        train_seconds: over all attempts.
    """

    time: float
    ended: EndReason
    best_epoch: int
    metrics: dict[str, float]
    n_params: int
    train_seconds: float


@dataclass(frozen=True)
class Failed:
    """The trial cannot go on.

    Attributes:
        kind: `diverged`, `error`, `memory` or `data`.
        reason: one line.
        traceback: where a bug or a library raised.
    """

    time: float
    kind: str
    reason: str
    traceback: str = ""


@dataclass(frozen=True)
class AttemptEnded:
    """The supervisor has settled what became of the attempt.

    Attributes:
        state: an Optuna state's name: COMPLETE, PRUNED, FAIL; or WAITING, where the trial is to go on later.
        reason: one line, empty for COMPLETE.
        attempts: how many there were.
    """

    time: float
    state: str
    reason: str = ""
    attempts: int = 1


@dataclass(frozen=True)
class Evicted:
    """The supervisor has removed the trial's checkpoint; better trials have theirs."""

    time: float


@dataclass(frozen=True)
class Unknown:
    """Something that a newer version of the program has written; it keeps its place in the order."""

    time: float
    line: str


Event = Started | EpochEnded | Finished | Failed | AttemptEnded | Evicted | Unknown

_KINDS: dict[str, type[Any]] = {
    "started": Started,
    "epoch_ended": EpochEnded,
    "finished": Finished,
    "failed": Failed,
    "attempt_ended": AttemptEnded,
    "closed": AttemptEnded,  # as homes written before November 2026 have it
    "evicted": Evicted,
}
_NAMES = {kind: name for name, kind in reversed(_KINDS.items())}


def encode(event: Event) -> str:
    """Returns the event as one line of JSON."""
    if isinstance(event, Unknown):
        return event.line
    return json.dumps({"event": _NAMES[type(event)], **dataclasses.asdict(event)})


def decode(line: str) -> Event:
    """Returns the event of a line; fields of a newer version are passed over.

    Raises:
        ValueError: if the line is none.
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
        raise ValueError(f"not a whole event: {line[:80]} ({error})") from None
    return event


def read(path: Path) -> list[Event]:
    """Returns the events of a file, none where there is no file; an unfinished last line is left out."""
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    events = []
    for line in lines:
        try:
            events.append(decode(line.decode("utf-8")))
        except ValueError:
            continue  # a torn line in the middle: an attempt was killed while it wrote, the next went on after it
    return events


def append(path: Path, event: Event) -> None:
    """Adds one event, on a line of its own even after a torn one, and brings it to the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = encode(event).encode() + b"\n"
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                line = b"\n" + line
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def epochs(events: list[Event]) -> list[EpochEnded]:
    """Returns the epochs in order, each once: the curve of the trial over all its attempts."""
    by_number = {event.epoch: event for event in events if isinstance(event, EpochEnded)}
    return [by_number[number] for number in sorted(by_number)]


def n_crashes(events: list[Event]) -> int:
    """Returns how many attempts of the trial ended with a crash and a retry."""
    return sum(
        isinstance(event, AttemptEnded) and event.reason.endswith((RESUMES, _RESUMES_UNTIL_0_1)) for event in events
    )


def summary(curve: list[EpochEnded], value: float | None, reason: str) -> dict[str, Any]:
    """Returns what a list of trials shows of a finished one: best epoch, metrics, duration, reason.

    Args:
        curve: its epochs.
        value: the objective; None for a trial without one.
        reason: why it was pruned or failed.
    """
    best_epoch = curve[-1].best_epoch if curve and value is not None else None
    return {
        "best_epoch": best_epoch,
        "metrics": next((epoch.metrics for epoch in curve if epoch.epoch == best_epoch), {}),
        "duration_s": round(sum(epoch.seconds for epoch in curve), 3),
        "reason": reason,
    }
