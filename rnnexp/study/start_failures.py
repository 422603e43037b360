"""When to start a process again after the environment has refused one, and when to give up.

The environment is at fault when no process can be started, or when a process ends before it trains. The trial is not:
it waits, and each further failure doubles the pause before the next start.
"""

FIRST_PAUSE_S, MAX_PAUSE_S = 1.0, 120.0
MAX_IN_A_ROW = 10
"""So many failures in a row take about seven minutes; then the sweep ends, if no trial runs."""
_MAX_KILLED_IN_A_ROW = 3
"""If the process of one trial is killed so many times before it trains, the trial itself may be the cause."""


class StartFailures:
    """Counts the starts that failed without a successful start between them. Times are of the monotonic clock."""

    def __init__(self) -> None:
        self._n_in_a_row = 0
        self._last_failure_at = self._paused_until = float("-inf")
        self._of_trial: dict[int, int] = {}

    def add(self, number: int, started_at: float, now: float) -> float:
        """Counts a failed start; returns the seconds until the next start.

        Several trials that were started before the last failure, and fail too, are one failure.

        Args:
            number: the trial's.
            started_at: when its process was started.
            now: the current time.
        """
        self._of_trial[number] = self._of_trial.get(number, 0) + 1
        if started_at >= self._last_failure_at:
            self._n_in_a_row += 1
            self._last_failure_at = now
            self._paused_until = now + min(MAX_PAUSE_S, FIRST_PAUSE_S * 2 ** (self._n_in_a_row - 1))
        return max(0.0, self._paused_until - now)

    def reset(self, number: int) -> None:
        """Starts again from zero: a trial's process has started to train."""
        self._n_in_a_row, self._paused_until = 0, float("-inf")
        self._of_trial.pop(number, None)

    def is_paused(self, now: float) -> bool:
        """Tells whether to start no process now."""
        return now < self._paused_until

    def may_be_killed_again(self, number: int) -> bool:
        """Tells whether the environment still counts as the cause if a trial's process is killed before it trains."""
        return self._of_trial.get(number, 0) < _MAX_KILLED_IN_A_ROW

    @property
    def is_hopeless(self) -> bool:
        """Whether so many starts failed that the user must look for the cause."""
        return self._n_in_a_row >= MAX_IN_A_ROW


def stop_reason(reason: str) -> str:
    """Returns why the sweep ends.

    Args:
        reason: of the last failure.
    """
    return (
        f"{MAX_IN_A_ROW} starts of trials failed one after another: {reason}; fix the cause, then run the same command "
        "to resume"
    )
