"""The benchmark of `certify`: what counts as noise, and what as a wrong verdict."""

import numpy as np
import pytest

from tests.benchmarks import certainty
from tests.benchmarks.certainty import Plan


def test_a_true_leader_is_named_and_no_other() -> None:
    plan = Plan((np.array([-0.001, 0.001]),) * 2, 8)
    assert certainty.shares(plan, 0.05, 5) == (0.0, 1.0)
    assert certainty.shares(plan, -0.05, 5) == (1.0, 0.0), (
        "the second one leads: with a negative difference that is wrong"
    )


def test_what_a_split_does_to_all_is_no_noise() -> None:
    split = np.array([0.01, -0.02, 0.01])
    assert certainty.deviations(np.array([0.8 + split, 0.9 + split]), of_split=True) == pytest.approx(0)
    own = certainty.deviations(np.array([0.8 + split, 0.9 + split]), of_split=False)
    assert own.std(axis=1, ddof=0) == pytest.approx(split.std(ddof=1))


def test_recorded_scores_are_of_real_seeds() -> None:
    noises, sources = certainty.recorded()
    assert len(sources) == 2
    assert all(
        len(noise) >= 10 and abs(noise.mean()) < 1e-9 and 0.001 < noise.std() < 0.02 for noise in noises.values()
    )
