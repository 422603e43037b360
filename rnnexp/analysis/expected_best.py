"""The best value that a search is expected to have after some of its trials."""

from collections.abc import Sequence

import numpy as np


def expected_best(values: Sequence[float]) -> list[float]:
    """Returns the expected largest of n values that are drawn without repetition, for n from 1 to all.

    This is the curve of Dodge et al. (2019, arXiv:1909.03004) in the unbiased form of Tang et al. (2020,
    arXiv:2011.09073). It is about trials that are drawn independently, as random search draws them.

    Args:
        values: of the trials; larger is better.
    """
    ordered, n_values = np.sort(np.asarray(values, float)), len(values)
    places = np.arange(1, n_values + 1)
    chances = np.full(n_values, 1 / max(n_values, 1))  # that a value is the largest of the n drawn ones
    result = []
    for n_drawn in range(1, n_values + 1):
        result.append(float(chances @ ordered))
        if n_drawn < n_values:  # C(i - 1, n - 1) / C(N, n), from n to n + 1
            chances *= np.maximum(places - n_drawn, 0) * (n_drawn + 1) / (n_drawn * (n_values - n_drawn))
    return result
