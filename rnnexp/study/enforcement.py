"""Applies limits and stop requests to the running trials: measures them, and stops or kills their processes."""

from collections.abc import Mapping

from rnnexp.engine.executor import Executor
from rnnexp.study import limits
from rnnexp.study.clock import Clock
from rnnexp.study.limits import LimitChecker
from rnnexp.study.records import TrialRecords
from rnnexp.study.running import RunningTrial


class Enforcer:
    """Applies the limits of a study, and the requests of its user, to its running trials."""

    def __init__(self, checker: LimitChecker, records: TrialRecords, executor: Executor, clock: Clock) -> None:
        """Args:
        checker: compares a trial with the limits.
        records: the folders of the trials; they contain the user's requests.
        executor: runs the trials.
        clock: the time.
        """
        self._checker, self._records, self._executor, self._clock = checker, records, executor, clock

    def enforce_limits(self, trials: Mapping[int, RunningTrial]) -> bool:
        """Kills the trials that exceed a limit; returns whether the disk is nearly full.

        Args:
            trials: those that occupy a slot, by number.
        """
        now = self._clock.monotonic()
        check_resources = self._checker.is_resource_check_due(now)
        disk_nearly_full = check_resources and limits.is_disk_nearly_full(self._records.free_bytes())
        measure_memory = check_resources and self._checker.has_memory_limit
        for number, trial in trials.items():
            if trial.outcome is not None:
                self._kill_lingering(number, trial, now)
            elif trial.kill_cause is None:
                private_bytes = self._executor.private_bytes(number) if measure_memory else None
                trial.kill_cause = self._checker.exceeded(trial, now, private_bytes)
                if trial.kill_cause is not None:
                    self._executor.kill(number)
        return disk_nearly_full

    def _kill_lingering(self, number: int, trial: RunningTrial, now: float) -> None:
        """Kills a process that has reported its result and does not exit."""
        if trial.kill_deadline is None:
            limits.set_kill_deadline(trial, now)
        elif limits.is_past_deadline(trial, now):
            self._executor.kill(number)

    def handle_stop_requests(self, trials: Mapping[int, RunningTrial]) -> list[int]:
        """Tells the trials that the user asked to stop from another shell to end after their running batch.

        Args:
            trials: those that occupy a slot, by number.

        Returns:
            The other trials that the user asked to stop. They may be paused.
        """
        others: list[int] = []
        for number in self._records.take_stop_requests():
            trial = trials.get(number)
            if trial is None:
                others.append(number)
            elif trial.outcome is None:
                trial.stop_requested = True
                self._executor.request_stop(number)
                limits.set_kill_deadline(trial, self._clock.monotonic())
        return others
