"""Prints a running study as JSON, one event on each line, for programs; docs/json.md describes the events."""

import dataclasses
import json
import time
from typing import IO, Any

from rnnexp.study.progress import ProgressSnapshot
from rnnexp.trial.events import EpochEnded
from rnnexp.trial.states import State


class JsonWatch:
    """A `ProgressReporter` that prints events."""

    def __init__(self, output: IO[str]) -> None:
        self._output = output
        self._last: ProgressSnapshot | None = None

    def __enter__(self) -> "JsonWatch":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is to be ended."""

    def event(self, name: str, **values: Any) -> None:
        """Prints an event. Numbers that JSON does not have, such as an infinite loss, are null."""
        line = {"event": name, "time": round(time.time(), 3), **values}
        self._output.write(json.dumps(_finite(line), ensure_ascii=True, allow_nan=False, default=str) + "\n")
        self._output.flush()

    def started(self, number: int, settings: dict[str, Any], attempt: int, from_epoch: int, epochs: int) -> None:
        self.event(
            "trial_started", trial=number, settings=settings, attempt=attempt, from_epoch=from_epoch, epochs=epochs
        )

    def epoch_ended(self, number: int, event: EpochEnded) -> None:
        self.event(
            "epoch",
            trial=number,
            epoch=event.epoch,
            metrics=event.metrics,
            seconds=event.seconds,
            best_value=event.best_value,
            best_epoch=event.best_epoch,
        )

    def ended(self, number: int, state: State, value: float | None, reason: str) -> None:
        self.event("trial_ended", trial=number, state=str(state), value=value, reason=reason or None)

    def note(self, line: str) -> None:
        self.event("note", text=line)

    def tick(self, snapshot: ProgressSnapshot) -> None:
        if self._last is None or _counts(snapshot) != _counts(self._last):
            self._last = snapshot
            self.event("progress", **dataclasses.asdict(snapshot))


def _counts(snapshot: ProgressSnapshot) -> tuple[int, int, int | None]:
    return snapshot.n_finished, snapshot.n_paused, snapshot.best_number


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if abs(value) < float("inf") else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return value
