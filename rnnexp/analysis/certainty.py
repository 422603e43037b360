"""How sure a comparison is: differences over seeds with intervals, and what a result is worth when repeated.

All scores here are oriented: larger is better.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnnexp.analysis import seed_test

LEVEL = 0.05
"""The share of studies of equal configurations in which any verdict may be wrong."""
_POWER = 0.8
_N_RESAMPLES = 9_999
_N_SIMULATED = 200
_SEED = 0
_FEWEST = 3
"""Fewer results say nothing about the distribution of true scores."""
_GRID, _ITERATIONS = 300, 300
_N_CROSSED, _CHUNK = 2_000, 100

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """Two configurations by their scores on the same seeds.

    Attributes:
        first: the place of the configuration with the larger mean.
        second: that of the other one.
        n_seeds: the number of seeds that both have.
        difference: the mean difference, at least 0.
        interval: of the mean difference, at 95% (bias-corrected and accelerated bootstrap over seeds).
        p: of the sequential test of signs (`seed_test`), adjusted for all comparisons (Holm).
        share_better: on how many of the seeds the first one is better; equal scores count one half.
        detectable: the true difference that would have given a verdict in four of five such studies; None if there are
            too few seeds for any verdict, or they do not differ.
    """

    first: int
    second: int
    n_seeds: int
    difference: float
    interval: tuple[float, float]
    p: float
    share_better: float
    detectable: float | None

    @property
    def is_decided(self) -> bool:
        """Whether the first one is better: both the test and the interval must say so."""
        return self.p <= LEVEL and self.interval[0] > 0


@dataclass(frozen=True)
class Certainty:
    """The comparisons of some configurations.

    Attributes:
        means: the mean score of each configuration.
        leader: the place of the one with the largest mean.
        comparisons: of the leader with each other one, best first.
    """

    means: tuple[float, ...]
    leader: int
    comparisons: tuple[Comparison, ...]

    @property
    def is_decided(self) -> bool:
        """Whether the leader is better than each other one."""
        return all(comparison.is_decided for comparison in self.comparisons)


def compare(scores: Floats, *, with_power: bool = True) -> Certainty:
    """Compares configurations that were trained on the same seeds.

    Every pair is tested and counts in the adjustment, although only those of the leader are returned: which one leads
    is known only from the same scores.

    Args:
        scores: (K, S), S seeds in the order in which they were trained.
        with_power: whether to compute `Comparison.detectable`, which takes a second.
    """
    n_configurations, n_seeds = scores.shape
    means = scores.mean(axis=1)
    order = sorted(range(n_configurations), key=lambda place: (-means[place], place))
    pairs = list(itertools.combinations(order, 2))
    adjusted = holm([seed_test.p_value(scores[first] - scores[second]) for first, second in pairs])
    comparisons = []
    for (first, second), p in zip(pairs, adjusted, strict=True):
        if first != order[0]:
            continue
        differences = scores[first] - scores[second]
        comparisons.append(
            Comparison(
                first,
                second,
                n_seeds,
                float(differences.mean()),
                interval(differences),
                p,
                float(np.mean(differences > 0) + np.mean(differences == 0) / 2),
                detectable(differences, LEVEL / len(pairs)) if with_power else None,
            )
        )
    return Certainty(tuple(float(mean) for mean in means), order[0], tuple(comparisons))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusts p-values for their number (Holm 1979): each may be compared with the level of all together."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        largest = max(largest, min(1.0, p_values[place] * (len(p_values) - rank)))
        adjusted[place] = largest
    return adjusted


def interval(values: Floats) -> tuple[float, float]:
    """Returns the 95% interval of the mean: bias-corrected and accelerated bootstrap (Efron 1987)."""
    from scipy import stats

    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    found = stats.bootstrap(
        (values,), np.mean, n_resamples=_N_RESAMPLES, method="BCa", rng=np.random.default_rng(_SEED), vectorized=True
    ).confidence_interval
    return float(found.low), float(found.high)


def detectable(differences: Floats, level: float) -> float | None:
    """Returns the true difference that the test would have shown in four of five studies like this one.

    Studies are simulated: the deviations of the differences from their mean, drawn again with random signs, plus the
    true difference.

    Args:
        differences: of the scores, one for each seed.
        level: at which the test rejects.
    """
    deviations = differences - differences.mean()
    if len(differences) < seed_test.FIRST_LOOK or not np.any(deviations):
        return None
    rng = np.random.default_rng(_SEED)
    shape = (_N_SIMULATED, len(differences))
    noise = rng.choice(deviations, shape) * rng.choice((-1.0, 1.0), shape)

    def power(true: float) -> float:
        return float(np.mean([seed_test.rejects(row + true, level) for row in noise]))

    low, high = 0.0, 4 * float(deviations.std())
    if power(high) < _POWER:
        return None
    for _ in range(8):
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle) >= _POWER else (middle, high)
    return high


def noise_of_seeds(groups: Sequence[Sequence[float]], tables: Sequence[NDArray[np.float64]] = ()) -> float | None:
    """Returns the standard deviation of the score between seeds of one configuration on the same validation rows.

    Args:
        groups: the scores of each configuration that was trained with several seeds on one split.
        tables: scores (K, S) of configurations on seeds that they share, each of which also draws a split. What a split
            does to all configurations is left out: it does not change which one is better.

    Returns:
        The value pooled over all of them; None if no configuration has two seeds.
    """
    squares, freedom = 0.0, 0
    for group in map(np.asarray, groups):
        squares += float(np.sum((group - group.mean()) ** 2))
        freedom += len(group) - 1
    for table in tables:
        residuals = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
        squares += float(np.sum(residuals**2))
        freedom += (table.shape[0] - 1) * (table.shape[1] - 1)
    return float(np.sqrt(squares / freedom)) if freedom else None


def expected_when_repeated(means: Sequence[float], n_seeds: Sequence[int], noise: float) -> list[float]:
    """Returns what each configuration is expected to score when it is trained again.

    The best of many noisy results is partly lucky. The true scores are taken as draws from one distribution, whose form
    is estimated from all results (nonparametric maximum likelihood, Kiefer and Wolfowitz 1956, by expectation
    maximisation on a grid); each result then has an expected true score.

    Args:
        means: the mean score of each configuration.
        n_seeds: of how many seeds.
        noise: the standard deviation between seeds.
    """
    values = np.asarray(means, float)
    if noise <= 0 or len(values) < _FEWEST:
        return [float(value) for value in values]
    errors = noise / np.sqrt(np.asarray(n_seeds, float))
    grid = _places(values)
    exponents = -0.5 * ((values[:, None] - grid) / errors[:, None]) ** 2
    # A factor for each result changes nothing; this one keeps a result far from all others from being 0 everywhere.
    density = np.exp(exponents - exponents.max(axis=1, keepdims=True))
    weights = np.full(len(grid), 1 / len(grid))
    for _ in range(_ITERATIONS):
        posterior = density * weights
        posterior /= posterior.sum(axis=1, keepdims=True)
        weights = posterior.mean(axis=0)
    posterior = density * weights
    return [float(value) for value in (posterior @ grid) / posterior.sum(axis=1)]


def _places(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns where the true scores may lie: at the results, or at as many of their quantiles, and between these.

    Places at equal distances would leave none near the good results if a bad one is far away from them.
    """
    knots = np.unique(np.quantile(values, np.linspace(0, 1, min(len(values), _GRID))))
    between = np.interp(np.linspace(0, len(knots) - 1, _GRID), np.arange(len(knots)), knots)
    return np.union1d(knots, between)


def mean_over_seeds_and_texts(correct: NDArray[np.bool_]) -> tuple[float, tuple[float, float]]:
    """Returns the mean accuracy of several models on the same texts, and its 95% interval.

    Seeds and texts are both drawn again (the bootstrap of Owen 2007 for crossed factors), so the interval is about
    other seeds and other texts of the same kind.

    Args:
        correct: (S, n), whether each model classifies each text correctly.
    """
    rng = np.random.default_rng(_SEED)
    n_seeds, n_texts = correct.shape
    values = correct.astype(np.float32)
    means = []
    for _ in range(_N_CROSSED // _CHUNK):
        of_texts = rng.multinomial(n_texts, np.full(n_texts, 1 / n_texts), _CHUNK).astype(np.float32)
        of_seeds = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), _CHUNK)
        means.append(np.sum(of_seeds * (of_texts @ values.T), axis=1) / (n_seeds * n_texts))
    low, high = np.quantile(np.concatenate(means), (0.025, 0.975))
    return float(values.mean()), (float(low), float(high))
