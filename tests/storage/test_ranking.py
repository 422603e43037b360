"""From the values of trials to a ranking: one objective, several, constraints."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnexp.storage.ranking import Ranking, Score

TWO = [{"metric": "val_accuracy", "direction": "maximize"}, {"metric": "n_params", "direction": "minimize"}]


def scores(ranking: Ranking, trials: dict[int, tuple[float, float]]) -> dict[int, Score]:
    return {number: ranking.score(value, {"costs": {"n_params": size}}) for number, (value, size) in trials.items()}


def test_the_front_comes_first_and_in_it_the_first_objective_decides() -> None:
    ranking = Ranking(TWO, {})
    trials = {0: (0.80, 10), 1: (0.90, 50), 2: (0.85, 60), 3: (0.70, 5), 4: (0.79, 12)}
    assert ranking.front(scores(ranking, trials)) == [1, 0, 3]
    assert ranking.order(scores(ranking, trials)) == [1, 0, 3, 2, 4]


def test_equal_trials_are_all_on_the_front() -> None:
    ranking = Ranking(TWO, {})
    assert ranking.front(scores(ranking, {5: (0.8, 10), 2: (0.8, 10)})) == [2, 5]


def test_a_trial_outside_the_constraints_comes_last() -> None:
    ranking = Ranking(TWO, {"n_params": {"max": 20, "min": None}, "val_accuracy": {"min": 0.5, "max": None}})
    trials = {0: (0.9, 40), 1: (0.6, 15), 2: (0.95, 22), 3: (0.4, 1)}
    found = {
        number: ranking.score(value, {"metrics": {"val_accuracy": value}, "costs": {"n_params": size}})
        for number, (value, size) in trials.items()
    }
    assert ranking.order(found) == [1, 2, 3, 0], "those outside by how far they are outside"
    assert ranking.front(found) == [1]


def test_a_trial_that_does_not_report_an_objective_comes_last() -> None:
    ranking = Ranking(TWO, {})
    found = scores(ranking, {0: (0.8, 10)}) | {1: ranking.score(0.7, {})}
    assert ranking.order(found) == [0, 1]
    with_bound = Ranking(TWO[:1], {"ms_per_text": {"max": 1.0, "min": None}})
    assert with_bound.score(0.9, {}).violation == float("inf")


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ({}, ("maximize",)),
        ({"objective": {"metric": "val_loss"}}, ("minimize",)),
        ({"objective": [{"metric": "val_loss"}, {"metric": "val_accuracy"}]}, ("minimize", "maximize")),
    ],
)
def test_the_direction_follows_from_the_metric(stored: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert Ranking.of(stored).directions == expected


@given(st.dictionaries(st.integers(0, 50), st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=25))
def test_the_front_is_what_no_trial_beats(trials: dict[int, tuple[int, int]]) -> None:
    ranking = Ranking(TWO, {})
    found = scores(ranking, {number: (float(value), float(size)) for number, (value, size) in trials.items()})
    unbeaten = {one for one in found if not any(found[other].beats(found[one]) for other in found)}
    assert set(ranking.front(found)) == unbeaten
    order = ranking.order(found)
    assert sorted(order) == sorted(found)
    assert not any(
        found[later].beats(found[earlier]) for place, earlier in enumerate(order) for later in order[place + 1 :]
    )
