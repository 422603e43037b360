"""Which trials a rung admits."""

import math
import random
from collections.abc import Mapping

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.pruners import HyperbandPruner as OptunasHyperband

from rnnexp.config.sweep import HyperbandPruner, NoPruner, Pruner, SuccessiveHalvingPruner
from rnnexp.storage.promotion import Promotion, build

HALVING = SuccessiveHalvingPruner(name="successive_halving", pause=True, min_resource=2, reduction_factor=2)


def rungs(pruner: Pruner = HALVING, *, maximize: bool = True, epochs: int = 8) -> Promotion:
    found = build(pruner, "s", epochs, maximize=maximize)
    assert found is not None
    return found


def with_values(values: Mapping[int, float], epoch: int = 2, *, maximize: bool = True) -> Promotion:
    found = rungs(maximize=maximize)
    for number, value in values.items():
        found.add(number, epoch, value)
    return found


def test_a_pruner_that_does_not_pause_has_no_rungs() -> None:
    for pruner in (NoPruner(name="none"), SuccessiveHalvingPruner(name="successive_halving")):
        assert build(pruner, "s", 8, maximize=True) is None


def test_a_rung_admits_the_best_share_of_those_that_reached_it() -> None:
    found = with_values({0: 0.5, 1: 0.6, 2: 0.7, 3: 0.4, 4: 0.9})
    paused = [number for number in range(5) if found.must_pause(number, 2, closing=False)]
    assert paused == [0, 1, 3], "two of five continue"
    assert str(found.place(1)) == "3rd of 5 in its rung"


def test_the_first_trial_of_a_rung_pauses() -> None:
    assert with_values({0: 0.9}).must_pause(0, 2, closing=False)


def test_a_paused_trial_is_next_when_later_reports_put_it_among_the_best_share() -> None:
    found = with_values({0: 0.6})
    assert found.next({0}, closing=False) is None
    found.add(1, 2, 0.5)
    assert found.next({0, 1}, closing=False) == 0
    assert found.next({1}, closing=False) is None, "trial 0 runs"


def test_the_latest_rung_is_served_first_and_there_the_best_trial() -> None:
    found = with_values({0: 0.9, 1: 0.8, 2: 0.7, 3: 0.6})
    for number, value in ((4, 0.3), (5, 0.2)):
        found.add(number, 2, value - 0.1)
        found.add(number, 4, value)
    assert found.next({0, 1, 4, 5}, closing=False) == 4
    assert found.next({0, 1, 5}, closing=False) == 0
    assert found.next({1, 5}, closing=False) == 1


def test_of_equal_trials_the_older_is_admitted() -> None:
    found = with_values({7: 0.5, 3: 0.5})
    assert [found.must_pause(number, 2, closing=False) for number in (3, 7)] == [False, True]


@pytest.mark.parametrize("maximize", [True, False])
def test_the_direction_counts(maximize: bool) -> None:
    found = with_values({0: 0.1, 1: 0.9}, maximize=maximize)
    assert found.next({0, 1}, closing=False) == (1 if maximize else 0)


def test_a_value_that_is_no_number_is_the_worst() -> None:
    found = with_values({0: math.nan, 1: 0.1})
    assert found.next({0, 1}, closing=False) == 1


def test_once_all_trials_have_started_a_rung_admits_at_least_its_best() -> None:
    found = with_values({0: 0.5})
    assert not found.must_pause(0, 2, closing=True)
    assert found.next({0}, closing=True) == 0
    assert found.next({0}, closing=False) is None


def test_an_epoch_that_is_no_rung_pauses_no_trial() -> None:
    found = rungs()
    for epoch in range(1, 9):
        found.add(0, epoch, 0.5)
        assert found.must_pause(0, epoch, closing=False) == (epoch in (2, 4))


def test_rungs_can_be_skipped_at_the_start() -> None:
    found = rungs(HALVING.model_copy(update={"min_early_stopping_rate": 1}))
    found.add(0, 2, 0.5)
    assert not found.must_pause(0, 2, closing=False)
    found.add(0, 4, 0.5)
    assert found.must_pause(0, 4, closing=False)


def test_a_repeated_epoch_changes_nothing() -> None:
    found = with_values({0: 0.6, 1: 0.5})
    found.add(0, 2, 0.6)
    assert str(found.place(1)) == "2nd of 2 in its rung"


@settings(max_examples=50, deadline=None)
@given(
    reports=st.lists(st.tuples(st.integers(0, 12), st.sampled_from([1, 2, 3, 4, 8]), st.floats(0, 1)), max_size=40),
    seed=st.integers(0, 9),
)
def test_the_order_of_the_reports_does_not_matter(reports: list[tuple[int, int, float]], seed: int) -> None:
    """A restart reads the reports in another order than that in which they came."""
    once = {(number, epoch): value for number, epoch, value in reversed(reports)}
    shuffled = random.Random(seed).sample(sorted(once), len(once))
    found, again = rungs(), rungs()
    for target, order in ((found, list(once)), (again, shuffled)):
        for number, epoch in order:
            target.add(number, epoch, once[number, epoch])
    for closing in (False, True):
        everyone = range(13)
        assert found.next(everyone, closing=closing) == again.next(everyone, closing=closing)
        for number, epoch in once:
            assert found.must_pause(number, epoch, closing=closing) == again.must_pause(number, epoch, closing=closing)


@settings(max_examples=50, deadline=None)
@given(values=st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_the_admitted_of_a_rung_are_no_worse_than_the_others(values: list[float]) -> None:
    found = with_values(dict(enumerate(values)))
    paused = [number for number in range(len(values)) if found.must_pause(number, 2, closing=False)]
    admitted = [number for number in range(len(values)) if number not in paused]
    assert len(admitted) == len(values) // 2
    assert all(values[one] >= values[other] for one in admitted for other in paused)


def test_ordinals() -> None:
    found = with_values({number: 1.0 - number / 200 for number in range(124)})
    shown = {number: str(found.place(number)).split()[0] for number in range(124)}
    assert [shown[number - 1] for number in (1, 2, 3, 4, 11, 12, 13, 21, 22, 23, 111, 113, 121)] == [
        *("1st", "2nd", "3rd", "4th", "11th", "12th", "13th"),
        *("21st", "22nd", "23rd", "111th", "113th", "121st"),
    ]


@pytest.mark.parametrize(("first", "factor", "epochs"), [(1, 3, 8), (1, 2, 8), (2, 2, 9), (1, 4, 3), (3, 3, 2)])
def test_hyperband_assigns_trials_to_brackets_as_optuna_does(first: int, factor: int, epochs: int) -> None:
    pruner = HyperbandPruner(name="hyperband", pause=True, min_resource=first, reduction_factor=factor)
    found, optunas = rungs(pruner, epochs=epochs), OptunasHyperband(first, max(epochs, first), factor)
    study = optuna.create_study(study_name="s", pruner=optunas)
    optunas._try_initialization(study)
    for number in range(40):
        trial = optuna.trial.create_trial(value=0.0)
        trial.number = number
        first_rung = first * factor ** optunas._get_bracket_id(study, trial)
        for epoch in range(1, first_rung + 1):
            found.add(number, epoch, 1.0 - number / 100)  # worse than the trials before it
            assert found.must_pause(number, epoch, closing=False) == (epoch == first_rung < epochs)
