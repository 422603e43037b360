"""The progress of a study: what the supervisor reports to a display, and its estimate of the time left."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from rnnexp.trial.events import EpochEnded
from rnnexp.trial.states import State


@dataclass(frozen=True)
class ProgressSnapshot:
    """The progress of a study at one moment.

    Attributes:
        n_finished: trials that count against the budget.
        n_paused: trials that are paused.
        n_trials: the budget.
        best_number: the best trial; None before a trial has a value.
        best_value: its objective.
        seconds_left: the estimated time left; None before a trial has ended, or without a slot.
    """

    n_finished: int
    n_paused: int
    n_trials: int
    best_number: int | None
    best_value: float | None
    seconds_left: float | None


class ProgressReporter(Protocol):
    """Receives the progress of a study. The supervisor calls it in its loop, so each method must return at once."""

    def started(self, number: int, settings: dict[str, Any], attempt: int, from_epoch: int, epochs: int) -> None:
        """A trial has started to train."""
        ...

    def epoch_ended(self, number: int, event: EpochEnded) -> None:
        """A running trial has finished an epoch."""
        ...

    def ended(self, number: int, state: State, value: float | None, reason: str) -> None:
        """A trial has left its slot. The state WAITING means that it resumes later."""
        ...

    def note(self, line: str) -> None:
        """Shows a message to the user."""
        ...

    def tick(self, snapshot: ProgressSnapshot) -> None:
        """Receives the current progress, several times a second."""
        ...


class TimeEstimate:
    """Estimates the time left from the mean duration of the trials so far."""

    def __init__(self) -> None:
        self._trials, self._total_s = set[int](), 0.0

    def add(self, number: int, seconds: float) -> None:
        """Adds the time of a trial that has ended or was paused; of a trial that resumed, the time since then."""
        self._trials.add(number)
        self._total_s += seconds

    def seconds_left(self, n_left: int, elapsed_s: Iterable[float], n_slots: int) -> float | None:
        """Returns the estimated time until all trials have ended; None before a trial has ended, or without a slot.

        Args:
            n_left: trials that are neither finished nor paused, including the running ones.
            elapsed_s: for each running trial, how long it has run.
            n_slots: trials at once.
        """
        if not self._trials or not n_slots:
            return None
        mean_s = self._total_s / len(self._trials)
        # A trial that runs longer than the mean counts as almost finished, not as negative work.
        done_s = sum(min(mean_s, seconds) for seconds in elapsed_s)
        return max(0.0, n_left * mean_s - done_s) / n_slots
