"""A sequential test of two configurations by their scores on the same seeds.

The unit is the seed, not the text: two trainings of one configuration differ by more than the sampling of texts
explains. Under the hypothesis that both configurations score alike, the sign of each seed's difference is arbitrary, so
the test compares the observed sum with those of all assignments of signs (Fisher 1935); it assumes no distribution.

It looks several times, after 6, 8, 10… seeds, and may stop at each. The level is spent over the looks by a rule that
does not know the last one, so seeds can be added later: after n seeds, the share `1 - (3.1 / n) ** 1.6` of it is spent.
As in AdaStop (Mathieu et al. 2023, arXiv:2306.10882), an assignment that was rejected at an earlier look stays
rejected, so what a look does not spend, because there are few assignments, is left for the next one.
"""

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FIRST_LOOK, STEP = 6, 2
"""The first look, in seeds: with five, no two-sided test of signs can reach 0.05. Then the distance of the looks."""

_SPENT_FROM, _SPENT_POWER = 3.1, 1.6
_MOST_EXACT = 15
"""Up to so many seeds all assignments are computed, 16,384; then as many are drawn."""
_N_DRAWN = 16_384
_BISECTIONS = 24


def looks(n_seeds: int) -> list[int]:
    """Returns after how many seeds the test looks, if there are `n_seeds`; the last one is always a look."""
    regular = list(range(FIRST_LOOK, n_seeds + 1, STEP))
    return regular if not regular or regular[-1] == n_seeds else [*regular, n_seeds]


def spent_share(n_seeds: int) -> float:
    """Returns which share of the level is spent after so many seeds."""
    return float(1 - (_SPENT_FROM / n_seeds) ** _SPENT_POWER)


@functools.cache
def _signs(n_seeds: int) -> NDArray[np.float64]:
    """Returns assignments of signs, (N, n_seeds); the first is the observed one.

    The statistic is the absolute sum, so an assignment and its opposite are the same: the first sign is always 1.
    """
    if n_seeds <= _MOST_EXACT:
        numbers = np.arange(2 ** (n_seeds - 1))
        bits = (numbers[:, None] >> np.arange(n_seeds)[::-1]) & 1
        return np.where(bits, -1.0, 1.0)
    signs = np.random.default_rng(n_seeds).choice((-1.0, 1.0), (_N_DRAWN, n_seeds))
    signs[0] = 1.0
    return signs


def _statistics(differences: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Returns the statistic of every assignment at each look; rounded, so that equal sums are equal."""
    signs = _signs(len(differences))
    return [np.abs(signs[:, :n] @ differences[:n]).round(12) for n in looks(len(differences))]


def _rejects(statistics: Sequence[NDArray[np.float64]], ends: Sequence[int], level: float) -> bool:
    """Tells whether the observed assignment is rejected at one of the looks, at a level in all.

    At each look, the assignments with the largest statistics are rejected, as many as the level spent so far allows;
    equal ones together or not at all.
    """
    rejected = np.zeros(len(statistics[0]), bool)
    for statistic, n in zip(statistics, ends, strict=True):
        allowed = int(level * spent_share(n) * len(statistic) + 1e-9) - int(rejected.sum())
        left = np.where(rejected, -1.0, statistic)
        if allowed <= 0:
            continue
        largest = np.partition(left, len(left) - 1 - allowed)[len(left) - 1 - allowed] if allowed < len(left) else -1.0
        rejected |= left > largest  # those above the first one that is not allowed
        if rejected[0]:
            return True
    return False


def p_value(differences: NDArray[np.float64]) -> float:
    """Returns the smallest level at which the test rejects that both configurations score alike, over all looks.

    Args:
        differences: of the scores, one for each seed, in the order of the looks.
    """
    if len(differences) < FIRST_LOOK or not np.any(differences):
        return 1.0
    statistics, ends = _statistics(differences), looks(len(differences))
    if not _rejects(statistics, ends, 1.0):
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if _rejects(statistics, ends, middle) else (middle, high)
    return high


def rejects(differences: NDArray[np.float64], level: float) -> bool:
    """Tells whether the test rejects at a level that it is given for all its looks."""
    if len(differences) < FIRST_LOOK:
        return False
    return _rejects(_statistics(differences), looks(len(differences)), level)
