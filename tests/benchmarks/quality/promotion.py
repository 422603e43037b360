"""Which trials may continue after a rung when the others are paused (asynchronous successive halving with promotion).

A rung is an epoch. It admits one in `reduction_factor` of the trials that have reached it, the best; of equal ones the
older. The others wait until it admits them (Li et al., 2020, "A System for Massively Parallel Hyperparameter Tuning").
"""

from collections.abc import Callable, Container, Sequence

from rnnexp.config.sweep import HyperbandPruner, Pruner, SuccessiveHalvingPruner
from rnnexp.storage import sampling


class Bracket:
    """The values of the trials at the rungs of one successive halving."""

    def __init__(self, first: int, reduction_factor: int, epochs: int) -> None:
        """Args:
        first: the epoch of the first rung.
        reduction_factor: the ratio of the epochs of two rungs, and of the trials that reach them.
        epochs: the epochs of a complete trial; the last rung is before it.
        """
        self._factor = reduction_factor
        self.rungs: dict[int, dict[int, float]] = {}
        while first < epochs:
            self.rungs[first] = {}
            first *= reduction_factor

    def admitted(self, epoch: int, *, closing: bool) -> list[int]:
        """Returns the trials that a rung admits, best first; `closing` as in `Promotion`."""
        values = self.rungs[epoch]
        n_admitted = max(int(closing), len(values) // self._factor)
        return sorted(values, key=lambda number: (-values[number], number))[:n_admitted]


class Promotion:
    """The rungs of a study, with the values of its trials.

    `closing` in the methods tells whether all trials of the budget have been started. Then a rung admits at least its
    best trial, even if fewer than `reduction_factor` trials have reached it.
    """

    def __init__(self, brackets: Sequence[Bracket], bracket_of: Callable[[int], int]) -> None:
        """Args:
        brackets: trials compete within a bracket only.
        bracket_of: returns the index of a trial's bracket, given its number.
        """
        self._brackets, self._bracket_of = brackets, bracket_of
        self._last_rung: dict[int, int] = {}

    def add(self, number: int, epoch: int, value: float) -> None:
        """Adds a report: the best value of a trial until an epoch; a larger one is better."""
        rungs = self._brackets[self._bracket_of(number)].rungs
        if epoch in rungs:
            rungs[epoch][number] = value
            self._last_rung[number] = epoch

    def must_pause(self, number: int, epoch: int, *, closing: bool) -> bool:
        """Tells whether a trial that has reported an epoch must pause: the epoch is a rung that does not admit it."""
        bracket = self._brackets[self._bracket_of(number)]
        return epoch in bracket.rungs and number not in bracket.admitted(epoch, closing=closing)

    def next(self, paused: Container[int], *, closing: bool) -> int | None:
        """Returns the paused trial to resume next: of the latest rung that admits one, the best; None if none does."""
        rungs = [(epoch, bracket) for bracket in self._brackets for epoch in bracket.rungs]
        for epoch, bracket in sorted(rungs, key=lambda rung: -rung[0]):
            for number in bracket.admitted(epoch, closing=closing):
                if number in paused and self._last_rung[number] == epoch:
                    return number
        return None


def build(pruner: Pruner, study: str, epochs: int) -> Promotion:
    """Returns the rungs of a study without reports.

    Args:
        pruner: successive halving, or Hyperband with the brackets and the assignment of trials that Optuna's has.
        study: the name of the study in Optuna.
        epochs: the epochs of a complete trial.
    """
    if isinstance(pruner, SuccessiveHalvingPruner):
        first = pruner.min_resource * pruner.reduction_factor**pruner.min_early_stopping_rate
        return Promotion([Bracket(first, pruner.reduction_factor, epochs)], lambda number: 0)
    assert isinstance(pruner, HyperbandPruner)
    import optuna

    named, hyperband = optuna.create_study(study_name=study), sampling.pruner(pruner, epochs)
    hyperband._try_initialization(named)
    brackets = [
        Bracket(pruner.min_resource * pruner.reduction_factor**index, pruner.reduction_factor, epochs)
        for index in range(hyperband._n_brackets)
    ]

    def bracket_of(number: int) -> int:
        trial = optuna.trial.create_trial(value=0.0)
        trial.number = number
        return int(hyperband._get_bracket_id(named, trial))

    return Promotion(brackets, bracket_of)
