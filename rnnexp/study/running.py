"""A trial in a slot: what the supervisor knows of it, and whether it has gone over a limit."""

from dataclasses import dataclass

from rnnexp.config.sweep import Limits
from rnnexp.storage.store import TrialRequest
from rnnexp.study.failures import FailureKind
from rnnexp.trial.events import Failed, Finished
from rnnexp.trial.states import State

BY_HAND = "stopped by hand"


@dataclass
class RunningTrial:
    """A trial in a slot.

    Attributes:
        asked: what runs.
        began: when its process was started, on the clock that only grows.
        heard: when it last gave a sign of life.
        result: its own last word.
        killed_for: why it was killed.
        stopped: whether it was asked to stop by hand.
        end_by: when it is killed if it has not ended by itself.
        told: what Optuna was told of it, and why.
        value: the objective that Optuna was told, None while or where there is none.
    """

    asked: TrialRequest
    began: float
    heard: float
    result: Finished | Failed | None = None
    killed_for: tuple[FailureKind, str] | None = None
    stopped: bool = False
    end_by: float | None = None
    told: tuple[State, str] | None = None
    value: float | None = None

    def over_a_limit(self, limits: Limits, now: float, held_bytes: int | None) -> tuple[FailureKind, str] | None:
        """Returns which limit the trial has gone over, None where it has not.

        Args:
            limits: the study's.
            now: on the clock that only grows.
            held_bytes: its private memory, None where nobody looked.
        """
        if self.end_by is not None and now > self.end_by:
            return FailureKind.STOPPED, BY_HAND
        if limits.trial_s is not None and now - self.began > limits.trial_s:
            return FailureKind.TIME, f"over its limit of {limits.trial_s:g} s (limits.trial_s)"
        if limits.heartbeat_timeout_s is not None and now - self.heard > limits.heartbeat_timeout_s:
            return (
                FailureKind.HEARTBEAT_TIMEOUT,
                f"no epoch and no sign of life for {limits.heartbeat_timeout_s:g} s (limits.heartbeat_timeout_s)",
            )
        if limits.memory_gb is not None and held_bytes is not None and held_bytes > limits.memory_gb * 2**30:
            held = f"{held_bytes / 2**30:.2f} GB"
            return FailureKind.MEMORY, f"over its limit of {limits.memory_gb:g} GB (limits.memory_gb): {held}"
        return None
