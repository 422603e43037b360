"""Why a study stops before its budget of trials is used up."""

from dataclasses import dataclass

_SENDER_TIMEOUT_S, _SENDER_TIMEOUT_AFTER_SIGNAL_S = 60.0, 10.0
DATABASE_LOCKED = (
    "another program has locked Optuna's database for too long; end that program, then run the same command to resume"
)


@dataclass(frozen=True)
class Outcome:
    """How the supervisor's run ended.

    Attributes:
        signal: the signal that ended it, or None.
        out_of_time: whether the time budget ended it.
        halt_reason: why the study cannot continue without the user; empty if it can.
        unsent: trials whose events MLflow does not have yet.
        n_finished: trials in a final state.
        storage_fault: how the database of the studies was lost; empty if it was not. A new supervisor can continue.
        space_is_used: whether trials have used every point of the search space, so that no more can be started.
    """

    signal: int | None
    out_of_time: bool
    halt_reason: str
    unsent: list[int]
    n_finished: int
    space_is_used: bool
    storage_fault: str = ""

    @property
    def can_continue(self) -> bool:
        """Whether a new supervisor should continue when the database of the studies is back."""
        return bool(self.storage_fault) and self.signal is None and not self.halt_reason


class StopConditions:
    """The conditions that stop a study: a signal, the time budget, or a problem that the user must solve.

    Attributes:
        signal: the signal that was received, or None.
        out_of_time: whether the time budget is used up.
        halt_reason: the problem that the user must solve; empty if there is none.
        disk_full: whether that problem is the full disk.
        storage_fault: how the database of the studies was lost; empty if it was not.
        space_is_used: whether no new trial can be drawn; those that wait still run.
    """

    def __init__(self, timeout_s: float | None, now: float) -> None:
        """Args:
        timeout_s: the time budget, or None.
        now: the start of the study on the monotonic clock.
        """
        self._deadline = None if timeout_s is None else now + timeout_s
        self.signal: int | None = None
        self.out_of_time = False
        self.halt_reason = ""
        self.disk_full = False
        self.storage_fault = ""
        self.space_is_used = False

    def halt(self, reason: str, *, disk_full: bool = False) -> None:
        """Stops the study until the user has solved a problem.

        Args:
            reason: the problem and its solution; replaces an earlier reason.
            disk_full: whether the problem is the full disk.
        """
        self.halt_reason = reason
        self.disk_full = self.disk_full or disk_full

    def check_time_budget(self, now: float, *, is_complete: bool) -> None:
        """Compares the time with the budget.

        Args:
            now: on the monotonic clock.
            is_complete: whether all trials have finished; then the budget stops nothing.
        """
        if self._deadline is not None and now > self._deadline:
            self.out_of_time = self.out_of_time or not is_complete

    @property
    def must_stop(self) -> bool:
        """Whether to start no trial and to interrupt the running ones."""
        return self.signal is not None or self.out_of_time or bool(self.halt_reason or self.storage_fault)

    @property
    def sender_timeout_s(self) -> float:
        """How long the end of the study waits for MLflow."""
        quick_exit = self.signal is not None or self.disk_full or bool(self.storage_fault)
        return _SENDER_TIMEOUT_AFTER_SIGNAL_S if quick_exit else _SENDER_TIMEOUT_S

    def outcome(self, unsent: list[int], n_finished: int) -> Outcome:
        """Returns how the supervisor's run ended.

        Args:
            unsent: trials whose events MLflow does not have yet.
            n_finished: trials in a final state.
        """
        return Outcome(
            self.signal,
            self.out_of_time,
            self.halt_reason,
            unsent,
            n_finished,
            self.space_is_used,
            self.storage_fault,
        )
