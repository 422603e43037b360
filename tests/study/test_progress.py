import pytest

from rnnexp.storage.ranking import Score
from rnnexp.study.best import BestTrial
from rnnexp.study.progress import TimeEstimate


def estimate_of(*durations: float) -> TimeEstimate:
    estimate = TimeEstimate()
    for number, seconds in enumerate(durations):
        estimate.add(number, seconds)
    return estimate


def test_there_is_no_estimate_before_a_trial_has_ended() -> None:
    assert estimate_of().seconds_left(4, [5.0], n_slots=2) is None


def test_the_estimate_is_the_mean_duration_divided_among_the_slots() -> None:
    assert estimate_of(10.0, 20.0).seconds_left(4, [], n_slots=1) == pytest.approx(60.0)
    assert estimate_of(10.0, 20.0).seconds_left(4, [], n_slots=2) == pytest.approx(30.0)


def test_the_time_of_running_trials_is_subtracted() -> None:
    assert estimate_of(10.0).seconds_left(4, [3.0, 5.0], n_slots=2) == pytest.approx(16.0)


def test_a_running_trial_counts_at_most_as_the_mean() -> None:
    assert estimate_of(10.0).seconds_left(2, [1000.0], n_slots=1) == pytest.approx(10.0)


def test_the_estimate_is_never_negative() -> None:
    assert estimate_of(10.0).seconds_left(0, [8.0], n_slots=1) == 0.0


def test_a_trial_that_was_paused_and_resumed_counts_once_with_all_its_time() -> None:
    estimate = estimate_of(10.0, 20.0)
    estimate.add(1, 30.0)
    assert estimate.seconds_left(2, [], n_slots=1) == pytest.approx(60.0)


def update(best: BestTrial, number: int, value: float, *, maximize: bool = True) -> None:
    best.update(number, value, Score((value if maximize else -value,)))


@pytest.mark.parametrize(("maximize", "number", "value"), [(True, 3, 0.9), (False, 1, 0.2)])
def test_the_best_trial_follows_the_direction(maximize: bool, number: int, value: float) -> None:
    best = BestTrial()
    assert (best.number, best.value) == (None, None)
    for each, its_value in ((1, 0.2), (2, 0.5), (3, 0.9)):
        update(best, each, its_value, maximize=maximize)
    assert (best.number, best.value) == (number, value)


def test_the_first_of_equal_trials_stays_the_best() -> None:
    best = BestTrial()
    update(best, 4, 0.5)
    update(best, 2, 0.5)
    assert best.number == 4


def test_a_trial_outside_the_constraints_is_not_the_best() -> None:
    best = BestTrial()
    best.update(0, 0.9, Score((0.9,), violation=0.5))
    best.update(1, 0.6, Score((0.6,)))
    best.update(2, 0.8, Score((0.8,), violation=0.1))
    assert best.number == 1


def test_a_best_value_of_zero_is_kept() -> None:
    best = BestTrial()
    update(best, 0, 0.0)
    update(best, 1, -1.0)
    assert (best.number, best.value) == (0, 0.0)
