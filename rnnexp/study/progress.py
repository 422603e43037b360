"""What the supervisor tells whoever looks on; the terminal's display is one such."""

from dataclasses import dataclass
from typing import Any, Protocol

from rnnexp.trial.events import EpochEnded
from rnnexp.trial.states import State


@dataclass(frozen=True)
class ProgressSnapshot:
    """How far a study is.

    Attributes:
        n_finished: trials that count against the budget.
        n_trials: the budget.
        best_number: the best complete trial, or None.
        best_value: its objective.
        seconds_left: an estimate from the trials so far, or None before there is one.
    """

    n_finished: int
    n_trials: int
    best_number: int | None
    best_value: float | None
    seconds_left: float | None


class ProgressReporter(Protocol):
    """Is told what happens; must return at once."""

    def started(self, number: int, settings: dict[str, Any], attempt: int, from_epoch: int, epochs: int) -> None:
        """A trial trains now."""
        ...

    def epoch_ended(self, number: int, event: EpochEnded) -> None:
        """A running trial has finished an epoch."""
        ...

    def ended(self, number: int, state: State, value: float | None, reason: str) -> None:
        """A trial has left its slot; WAITING means that it goes on later."""
        ...

    def note(self, line: str) -> None:
        """Something that the user should know."""
        ...

    def tick(self, standing: ProgressSnapshot) -> None:
        """Called several times a second."""
        ...
