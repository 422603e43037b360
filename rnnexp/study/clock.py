"""The clock that the supervisor reads; the standard module `time` fulfils this protocol."""

from typing import Protocol


class Clock(Protocol):
    """A wall clock for records, which may jump, and a monotonic clock for durations, which never does."""

    def time(self) -> float:
        """Returns the machine's time in seconds since 1970."""
        ...

    def monotonic(self) -> float:
        """Returns seconds from an arbitrary start; they never decrease."""
        ...
