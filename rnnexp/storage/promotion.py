"""Which trials may continue after a rung, if the others are paused: asynchronous successive halving with promotion.

A rung is an epoch. It admits one in `reduction_factor` of the trials that have reached it, the best by the value that
they reported at this epoch; of equal ones the older. A trial that is not admitted is paused, and resumes when later
reports of others put it among the admitted: the promotion of ASHA (Li et al., 2020, "A System for Massively Parallel
Hyperparameter Tuning"), which Optuna's pruner does not have, because it cannot resume a trial.

Everything follows from the reported values, so a restart computes the same. This module does not know Optuna.
"""

import binascii
import bisect
import math
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass

from rnnexp.config.sweep import HyperbandPruner, Pruner, SuccessiveHalvingPruner


@dataclass(frozen=True)
class Place:
    """The place of a trial in its rung.

    Attributes:
        rank: from 1, the best.
        n: how many trials have reached the rung.
    """

    rank: int
    n: int

    def __str__(self) -> str:
        return f"{_ordinal(self.rank)} of {self.n} in its rung"


class _Rung:
    """The trials that have reached one rung, best first."""

    def __init__(self) -> None:
        self._trials: list[tuple[float, int]] = []
        self._losses: dict[int, float] = {}

    def add(self, number: int, loss: float) -> None:
        """Adds a trial; a repeated epoch has the same value and changes nothing."""
        if number not in self._losses:
            self._losses[number] = loss
            bisect.insort(self._trials, (loss, number))

    def place(self, number: int) -> Place:
        position = bisect.bisect_left(self._trials, (self._losses[number], number))
        return Place(position + 1, len(self._trials))

    def best(self, n: int) -> list[int]:
        return [number for _, number in self._trials[:n]]

    def __len__(self) -> int:
        return len(self._trials)


class Bracket:
    """The rungs of one successive halving: epoch `first`, then each time `reduction_factor` times as many epochs.

    All are before the last epoch of the longest trial.
    """

    def __init__(self, first: int, reduction_factor: int, epochs: int) -> None:
        self._first, self._factor, self._epochs = first, reduction_factor, epochs
        self.rungs: dict[int, _Rung] = {}

    def add(self, number: int, epoch: int, loss: float) -> bool:
        """Adds a report; returns whether the epoch is a rung."""
        if not self._is_rung(epoch):
            return False
        self.rungs.setdefault(epoch, _Rung()).add(number, loss)
        return True

    def _is_rung(self, epoch: int) -> bool:
        if epoch >= self._epochs:
            return False
        while epoch > self._first and epoch % self._factor == 0:
            epoch //= self._factor
        return epoch == self._first

    def n_admitted(self, epoch: int, *, closing: bool) -> int:
        """Returns how many trials a rung admits; `closing` as in `Promotion`."""
        n = len(self.rungs[epoch])
        return max(1, n // self._factor) if closing else n // self._factor


class Promotion:
    """The rungs of a study, with the values of its trials.

    `closing` in the methods tells whether all trials of the budget have been started. Then a rung admits at least its
    best trial, even if fewer than `reduction_factor` trials have reached it. So some trial always runs to its end.
    """

    def __init__(self, brackets: Sequence[Bracket], bracket_of: Callable[[int], int], *, maximize: bool) -> None:
        """Args:
        brackets: trials compete within a bracket only.
        bracket_of: returns the index of a trial's bracket, given its number.
        maximize: whether a larger value is better.
        """
        self._brackets, self._bracket_of, self._maximize = brackets, bracket_of, maximize
        self._last_rung: dict[int, int] = {}

    def add(self, number: int, epoch: int, value: float) -> None:
        """Adds a report: the best value of a trial until an epoch."""
        loss = math.inf if math.isnan(value) else -value if self._maximize else value
        if self._bracket(number).add(number, epoch, loss):
            self._last_rung[number] = max(epoch, self._last_rung.get(number, 0))

    def must_pause(self, number: int, epoch: int, *, closing: bool) -> bool:
        """Tells whether a trial that has reported an epoch must pause: the epoch is a rung that does not admit it."""
        return self._last_rung.get(number) == epoch and not self._admits(number, closing=closing)

    def _admits(self, number: int, *, closing: bool) -> bool:
        bracket, epoch = self._bracket(number), self._last_rung[number]
        return bracket.rungs[epoch].place(number).rank <= bracket.n_admitted(epoch, closing=closing)

    def next(self, paused: Container[int], *, closing: bool) -> int | None:
        """Returns the paused trial to resume next: of the latest rung that admits one, the best; None if none does."""
        rungs = [(epoch, bracket) for bracket in self._brackets for epoch in bracket.rungs]
        for epoch, bracket in sorted(rungs, key=lambda rung: -rung[0]):
            for number in bracket.rungs[epoch].best(bracket.n_admitted(epoch, closing=closing)):
                if number in paused and self._last_rung[number] == epoch:
                    return number
        return None

    def place(self, number: int) -> Place:
        """Returns the place of a trial in the last rung that it has reached; it must have reached one."""
        return self._bracket(number).rungs[self._last_rung[number]].place(number)

    def _bracket(self, number: int) -> Bracket:
        return self._brackets[self._bracket_of(number)]


def build(pruner: Pruner, study: str, epochs: int, *, maximize: bool) -> Promotion | None:
    """Returns the rungs of a study without reports; None if its pruner pauses no trial.

    Args:
        pruner: the pruner of the sweep file.
        study: the name of the study in Optuna.
        epochs: the epochs of the longest trial.
        maximize: whether a larger value is better.
    """
    if isinstance(pruner, SuccessiveHalvingPruner) and pruner.pause:
        first = pruner.min_resource * pruner.reduction_factor**pruner.min_early_stopping_rate
        return Promotion([Bracket(first, pruner.reduction_factor, epochs)], lambda number: 0, maximize=maximize)
    if isinstance(pruner, HyperbandPruner) and pruner.pause:
        return _hyperband(pruner, study, epochs, maximize=maximize)
    return None


def _hyperband(pruner: HyperbandPruner, study: str, epochs: int, *, maximize: bool) -> Promotion:
    """Returns Hyperband's brackets, with the sizes and the assignment of trials that Optuna's pruner has."""
    first, factor = pruner.min_resource, pruner.reduction_factor
    n = 1
    while first * factor**n <= epochs:
        n += 1
    sizes = [math.ceil(n * factor ** (n - 1 - index) / (n - index)) for index in range(n)]

    def bracket_of(number: int) -> int:
        left = binascii.crc32(f"{study}_{number}".encode()) % sum(sizes)
        index = 0
        while left >= sizes[index]:
            left -= sizes[index]
            index += 1
        return index

    brackets = [Bracket(first * factor**index, factor, epochs) for index in range(n)]
    return Promotion(brackets, bracket_of, maximize=maximize)


def _ordinal(number: int) -> str:
    """Returns 1st, 2nd, 3rd, 4th, 11th, 21st."""
    last = 0 if number // 10 % 10 == 1 else number % 10
    return str(number) + {1: "st", 2: "nd", 3: "rd"}.get(last, "th")
