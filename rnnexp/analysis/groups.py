"""Groups of trials by the values of settings."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rnnexp.analysis.filters import value_of
from rnnexp.storage.views import StudyView, TrialRow
from rnnexp.trial.states import State


@dataclass(frozen=True)
class Group:
    """The trials that share the values of some columns.

    Attributes:
        key: the values.
        n_trials: trials with a value.
        n_pruned: how many of them were pruned.
        best: the best value.
        best_trial: its trial.
        median: of the values.
    """

    key: tuple[Any, ...]
    n_trials: int
    n_pruned: int
    best: float
    best_trial: int
    median: float


def groups(study: StudyView, rows: Sequence[TrialRow], names: Sequence[str]) -> list[Group]:
    """Returns the groups, best first.

    Args:
        study: tells what is better.
        rows: the trials; those without a value are left out.
        names: the columns whose values a group shares.
    """
    sign = 1.0 if study.direction == "maximize" else -1.0
    by_key: dict[tuple[Any, ...], list[TrialRow]] = {}
    for row in rows:
        if row.value is not None:
            by_key.setdefault(tuple(value_of(row, name) for name in names), []).append(row)
    found = []
    for key, some in by_key.items():
        values = [row.value for row in some if row.value is not None]
        best = max(some, key=lambda row: (sign * (row.value or 0.0), -row.number))
        n_pruned = sum(row.state is State.PRUNED for row in some)
        found.append(Group(key, len(some), n_pruned, best.value or 0.0, best.number, statistics.median(values)))
    return sorted(found, key=lambda group: (-sign * group.best, group.best_trial))
