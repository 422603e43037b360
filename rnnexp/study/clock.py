"""The time, as the supervisor asks for it; the module `time` is such a clock."""

from typing import Protocol


class Clock(Protocol):
    """Two readings: one for records, which may jump, and one for durations, which may not."""

    def time(self) -> float:
        """Returns the seconds since 1970, as the machine believes."""
        ...

    def monotonic(self) -> float:
        """Returns seconds that only grow."""
        ...
