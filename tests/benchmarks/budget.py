"""How long each benchmark may take, so that `make bench` ends within an hour on two cores.

A benchmark whose size can be reduced asks its share before each further step. The others have a fixed size.
"""

import math
import time
from collections.abc import Callable

MINUTES = {
    "rivals": 25.0,
    "quality": 7.0,
    "trial_cost": 1.5,
    "scale": 18.0,
    "slots": 1.0,
    "peak": 2.5,
    "startup": 2.0,
    "ends": 2.5,
}
"""The minutes of each benchmark, in the order in which they run, with one round; more rounds get as many times more."""
MOST_MINUTES = 60.0
"""Of all benchmarks together, with one round."""


class TimeShare:
    """The time that a benchmark may take, from now on."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Args:
        seconds: how long it may take.
        clock: returns seconds; replaced in tests.
        """
        self.seconds = seconds
        self._clock = clock
        self._start = clock()

    @property
    def used_s(self) -> float:
        return self._clock() - self._start

    @property
    def left_s(self) -> float:
        """The seconds that are left; negative if more were used."""
        return self.seconds - self.used_s

    def allows(self, seconds: float) -> bool:
        """Tells whether a step of so many seconds would end within the share."""
        return seconds <= self.left_s

    def n_steps(self, most: int, step_s: float, unit: int = 1) -> int:
        """Returns how many steps fit: at most `most`, else rounded down to a multiple of `unit`.

        Args:
            most: the number of steps without a limit.
            step_s: the expected seconds of a step.
            unit: the rounding of a reduced number.
        """
        if self.allows(most * step_s):
            return most
        return max(0, math.floor(self.left_s / step_s) // unit * unit)


UNLIMITED = TimeShare(math.inf)


def share_s(name: str, rounds: int) -> float:
    """Returns the seconds that a benchmark may take with so many rounds; infinite if it runs on request only."""
    return 60 * MINUTES.get(name, math.inf) * rounds
