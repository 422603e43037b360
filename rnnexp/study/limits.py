"""The limits of a running trial: time, memory, heartbeat, the deadline after a stop request; and the free disk space.

This module only compares values. The supervisor measures, and kills what exceeds a limit.
"""

from pathlib import Path

from rnnexp.config.sweep import Limits
from rnnexp.study.failures import Failure, FailureKind
from rnnexp.study.running import RunningTrial
from rnnexp.trial.events import STOPPED_BY_HAND

STOP_TIMEOUT_S = 30.0
"""A trial that the user stops ends after its running batch, with its result. If it sends nothing for so long, it hangs
and is killed. A process that has reported its result but does not exit is killed after the same time."""
RESOURCE_CHECK_INTERVAL_S = 1.0
"""How often memory and free disk space are measured."""
MIN_FREE_BYTES = 16 * 2**20


class LimitChecker:
    """Compares running trials with the study's limits. Times are readings of the monotonic clock."""

    def __init__(self, limits: Limits, now: float) -> None:
        """Args:
        limits: the study's.
        now: the first measurement of memory and disk space is due one interval later.
        """
        self._limits = limits
        self._last_resource_check = now

    @property
    def has_memory_limit(self) -> bool:
        """Whether the memory of the trials must be measured."""
        return self._limits.memory_gb is not None

    def is_resource_check_due(self, now: float) -> bool:
        """Tells whether to measure memory and disk space now; starts the next interval if so."""
        if now - self._last_resource_check < RESOURCE_CHECK_INTERVAL_S:
            return False
        self._last_resource_check = now
        return True

    def exceeded(self, trial: RunningTrial, now: float, private_bytes: int | None) -> Failure | None:
        """Returns the limit that the trial exceeds, as a failure; None where it exceeds none.

        Args:
            trial: a running trial.
            now: the current time.
            private_bytes: its private memory; None where it was not measured.
        """
        limits = self._limits
        if is_past_deadline(trial, now):
            return Failure(FailureKind.STOPPED, STOPPED_BY_HAND)
        if limits.trial_s is not None and now - trial.started_at > limits.trial_s:
            return Failure(FailureKind.TIME, f"exceeded its time limit of {limits.trial_s:g} s (limits.trial_s)")
        if limits.heartbeat_timeout_s is not None and now - trial.last_heartbeat > limits.heartbeat_timeout_s:
            return Failure(
                FailureKind.HEARTBEAT_TIMEOUT,
                f"no epoch and no heartbeat for {limits.heartbeat_timeout_s:g} s (limits.heartbeat_timeout_s)",
            )
        if limits.memory_gb is not None and private_bytes is not None and private_bytes > limits.memory_gb * 2**30:
            used = f"{private_bytes / 2**30:.2f} GB"
            return Failure(
                FailureKind.MEMORY, f"exceeded its memory limit of {limits.memory_gb:g} GB (limits.memory_gb): {used}"
            )
        return None


def set_kill_deadline(trial: RunningTrial, now: float) -> None:
    """Gives the trial `STOP_TIMEOUT_S` from now to end by itself."""
    trial.kill_deadline = now + STOP_TIMEOUT_S


def is_past_deadline(trial: RunningTrial, now: float) -> bool:
    """Tells whether the trial had to end by itself and did not."""
    return trial.kill_deadline is not None and now > trial.kill_deadline


def is_disk_nearly_full(free_bytes: int) -> bool:
    """Tells whether to stop before writes fail."""
    return free_bytes < MIN_FREE_BYTES


def disk_full_message(home: Path, free_bytes: int) -> str:
    """Returns what the user must know when the disk is full."""
    return (
        f"the disk is full: {free_bytes / 2**20:.0f} MB are free at {home}; finished trials are safe; free some space "
        f"(`rnnexp doctor --home {home}` shows what uses it), then run the same command to resume"
    )
