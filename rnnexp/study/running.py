"""A trial that occupies a slot, as the supervisor sees it."""

from dataclasses import dataclass

from rnnexp.storage.trial_values import TrialRequest
from rnnexp.study.failures import Failure
from rnnexp.trial.events import Failed, Finished, Paused
from rnnexp.trial.states import State


@dataclass(frozen=True)
class TrialOutcome:
    """How an attempt of a trial ended, as written to Optuna.

    Attributes:
        state: COMPLETE, PRUNED or FAIL; WAITING where the trial resumes later.
        reason: one line; empty for a normal end.
        value: the objective; None without a result.
    """

    state: State
    reason: str
    value: float | None = None


@dataclass
class RunningTrial:
    """A trial that occupies a slot. Times are readings of the monotonic clock.

    Attributes:
        request: what Optuna asked for.
        started_at: when its process was started.
        last_heartbeat: when its last message arrived.
        result: the result that it reported, or that it has ended for a pause.
        kill_cause: why the supervisor killed it.
        stop_requested: whether the user asked to stop it.
        kill_deadline: when it is killed if it has not ended by itself.
        outcome: what was written to Optuna; None until then.
    """

    request: TrialRequest
    started_at: float
    last_heartbeat: float
    result: Finished | Failed | Paused | None = None
    kill_cause: Failure | None = None
    stop_requested: bool = False
    kill_deadline: float | None = None
    outcome: TrialOutcome | None = None

    @property
    def is_active(self) -> bool:
        """Whether it still trains: it was not killed and has no outcome."""
        return self.outcome is None and self.kill_cause is None
