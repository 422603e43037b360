"""Tests of `quality`: replays use the recorded values and seconds, and the targets are about the shipped pair."""

import subprocess
import sys
from collections.abc import Mapping, Sequence

import pytest

from rnnexp.config.sweep import (
    HyperbandPruner,
    MedianPruner,
    NoPruner,
    Pruner,
    RandomSampler,
    SuccessiveHalvingPruner,
    SweepConfig,
    TpeSampler,
)
from tests.benchmarks.budget import UNLIMITED, TimeShare
from tests.benchmarks.quality import candidates, compare
from tests.benchmarks.quality.baseline import compute_baseline
from tests.benchmarks.quality.compare import make_targets, reached, replay_seeds, speedup
from tests.benchmarks.quality.curves import Curve, draw_settings, imdb_sweep
from tests.benchmarks.quality.replay import Candidate, Cost, ReplayResult, distance, replay, replay_thresholds
from tests.benchmarks.quality.rungs import describe_rungs, rungs

EPOCHS = 4
NO_COST = Cost(0.0, 0.0, "none")
UNREACHABLE = 2.0
"""Higher than any accuracy, so that a study with this threshold uses all curves."""
NONE = NoPruner(name="none")
PRUNERS: list[Pruner] = [
    MedianPruner(name="median", n_startup_trials=2, n_warmup_steps=0),
    SuccessiveHalvingPruner(name="successive_halving", reduction_factor=2),
    HyperbandPruner(name="hyperband"),
]


def curves(n: int, seconds: float = 10.0) -> list[Curve]:
    """Returns curves with equal seconds; configuration i ends at 0.5 + i/100 and rises by equal steps."""
    return [
        Curve(number, settings, tuple(0.5 + number * epoch / 400 for epoch in range(1, 5)), (seconds,) * EPOCHS, 1.0)
        for number, settings in enumerate(draw_settings(n))
    ]


def config() -> SweepConfig:
    return imdb_sweep().model_copy(update={"base": imdb_sweep().base.with_settings({"train.epochs": EPOCHS})})


def run(
    recorded: list[Curve], pruner: Pruner = NONE, threshold: float = UNREACHABLE, workers: int = 1, cost: Cost = NO_COST
) -> ReplayResult:
    candidate = Candidate(RandomSampler(name="random"), pruner, nearest=False)
    return replay(recorded, config(), candidate, 3, threshold, cost, workers)


def test_study_without_pruner_takes_the_sum_of_its_epochs_and_costs() -> None:
    found = run(curves(6), cost=Cost(start_s=7.0, trial_s=0.5, source="given"))
    assert found.seconds == pytest.approx(7.0 + 6 * (0.5 + 4 * 10.0))
    assert (found.reached, found.n_trials, found.n_epochs) == (False, 6, 24)


def test_two_workers_take_half_the_time_for_equal_trials() -> None:
    assert run(curves(8), workers=2).seconds == pytest.approx(run(curves(8)).seconds / 2)


def test_replay_ends_with_the_epoch_that_reaches_the_threshold() -> None:
    best = [Curve(0, draw_settings(1)[0], (0.5, 0.8, 0.7, 0.9), (1.0, 2.0, 3.0, 4.0), 0.0)]
    found = run(best, threshold=0.8)
    assert (found.reached, found.seconds, found.best) == (True, 3.0, 0.8)


@pytest.mark.parametrize("pruner", PRUNERS, ids=lambda pruner: pruner.name)
def test_pruner_saves_epochs_and_changes_no_value(pruner: Pruner) -> None:
    recorded = curves(12)
    pruned, whole = run(recorded, pruner), run(recorded)
    assert pruned.n_trials == whole.n_trials
    assert pruned.n_epochs < whole.n_epochs
    assert pruned.seconds == pytest.approx(10.0 * pruned.n_epochs)
    # The best curve is the best at every epoch, so no pruner ends it.
    assert pruned.best == whole.best == max(recorded[-1].val_accuracy)


def test_each_threshold_has_the_result_of_a_study_that_stops_there() -> None:
    recorded, candidate = curves(9), Candidate(RandomSampler(name="random"), NONE, nearest=False)
    thresholds = (0.53, 0.55, UNREACHABLE)
    found = replay_thresholds(recorded, config(), candidate, 3, thresholds, NO_COST, 2)
    assert found == [replay(recorded, config(), candidate, 3, one, NO_COST, 2) for one in thresholds]
    assert [one.reached for one in found] == [True, True, False]


def results(seconds: float, n_reached: int, n: int = 200) -> list[ReplayResult]:
    return [ReplayResult(seconds, number < n_reached, 1, 1, 0.9) for number in range(n)]


def by_threshold(seconds: float, n_reached: int) -> Mapping[str, Sequence[ReplayResult]]:
    return dict.fromkeys(("75th percentile", "90th percentile", "maximum"), results(seconds, n_reached))


def test_the_shipped_pair_is_replayed_first() -> None:
    sweep, first = imdb_sweep(), candidates.compared(quick=False)[0]
    assert (first.sampler.name, first.pruner) == (sweep.sampler.name, sweep.pruner)
    assert candidates.compared(quick=True)[0] == first
    assert "(imdb.yaml)" in candidates.describe_pruner(first)
    assert candidates.compared(quick=False).count(first) == 1


def test_targets_are_the_share_that_reaches_a_value_and_the_time_to_it() -> None:
    search = by_threshold(700.0, 200)
    good = make_targets(by_threshold(100.0, 199), search)
    assert [target.bound for target in good] == [0.95, 6.0, 0.98, 4.0]
    assert [target.value for target in good] == pytest.approx([0.995, 7.0, 0.995, 7.0])
    assert all(target.met for target in good)
    assert [target.met for target in make_targets(by_threshold(130.0, 194), search)] == [True, False, False, True]


def test_a_time_that_half_of_the_studies_do_not_reach_is_no_time() -> None:
    search = results(700.0, 200)
    assert speedup(results(1.0, 100), search) == 0.0
    assert speedup(results(1.0, 101), search) == 700.0
    assert compare._cell(results(1.0, 100), search) == "50.0%, –"
    assert compare._cell(results(1.0, 101), search) == "50.5%, 1 s (1 to 1), 700.00×"


def test_first_epochs_that_tell_the_end() -> None:
    """All curves keep their rank, so the first epoch tells everything; shuffled first values tell nothing."""
    found = rungs(curves(30), EPOCHS)
    assert [one.epoch for one in found] == [1, 2, 3]
    # The first value of curve 0 equals its later ones; all others rise in the order of their numbers.
    assert all(one.correlation == pytest.approx(1.0) and one.n_best_in_top_third == 10 for one in found)
    reverse = [
        Curve(one.number, one.settings, (0.4 - one.number / 1000, *one.val_accuracy[1:]), one.seconds, 0.0)
        for one in curves(30)
    ]
    first = rungs(reverse, EPOCHS)[0]
    assert first.correlation == pytest.approx(-1.0)
    assert first.n_best_in_top_third == 0
    assert "1: -1.00 (0), 2: 1.00 (10)" in describe_rungs(reverse, EPOCHS)


def test_hyperband_is_compared_for_several_first_checks() -> None:
    found = {one.pruner.min_resource for one in candidates.CANDIDATES if isinstance(one.pruner, HyperbandPruner)}
    assert found >= {1, 2, 3, 4}


def test_each_recorded_configuration_is_used_once() -> None:
    recorded = curves(9)
    tpe = Candidate(TpeSampler(name="tpe", n_startup_trials=3), NONE)
    found = replay(recorded, config(), tpe, 1, UNREACHABLE, NO_COST, 2)
    assert (found.n_trials, found.n_epochs) == (9, 36)


def test_distance_of_two_points() -> None:
    space, (near, far) = imdb_sweep().space, draw_settings(2)
    assert distance(space, near, near) == 0.0
    none = {"clip.kind": "none", "model.units": 16, "model.cell": "gru"}
    value = {"clip.kind": "value", "clip.threshold": 1.0, "model.units": 128, "model.cell": "gru"}
    assert distance(space, none, value) == pytest.approx(3.0)  # kind, threshold, whole range of units
    assert distance(space, {"model.units": 16}, {"model.units": 45}) == pytest.approx(0.497, abs=0.001)
    assert distance(space, near, far) == distance(space, far, near) > 0.0


def test_failed_trial_ends_with_its_curve() -> None:
    failed = Curve(0, draw_settings(1)[0], (0.6,), (10.0,), None, failed="diverged")
    found = run([failed])
    assert (found.seconds, found.n_epochs, found.best) == (10.0, 1, 0.6)


def test_thresholds_are_percentiles_of_the_curves() -> None:
    recorded = curves(60)
    found = compute_baseline(recorded, recorded, EPOCHS)
    assert found.own_values
    # The best value of curve i is 0.5 + i/100.
    expected = {"75th percentile": 0.9425, "90th percentile": 1.031, "maximum": 1.09}
    assert found.thresholds == pytest.approx(expected)
    random = Candidate(RandomSampler(name="random"), NONE, nearest=False)
    by_name = replay_seeds(random, recorded, EPOCHS, found.thresholds, NO_COST, 1, range(50))
    assert all(reached(some) == 1.0 for some in by_name.values())
    for low, middle, high in zip(*by_name.values(), strict=True):
        assert low.seconds <= middle.seconds <= high.seconds


def test_plain_loop_without_values_has_those_of_rnnexp_and_its_own_seconds() -> None:
    ours = curves(6)
    scaled = [Curve(one.number, one.settings, (), (30.0,) * EPOCHS, 1.0, scaled=True) for one in ours]
    found = compute_baseline(ours, scaled, EPOCHS)
    assert not found.own_values
    assert found.thresholds["maximum"] == max(ours[-1].val_accuracy)
    assert [one.seconds for one in found.curves] == [(30.0,) * EPOCHS] * 6
    assert found.cost.trial_s == 1.0


def seconds_of_one(candidate: Candidate) -> Mapping[str, Sequence[ReplayResult]]:
    """Stands in for the replay of a candidate; it is called in another process."""
    return {"maximum": [ReplayResult(1.0, True, 1, 1, 0.9)]}


@pytest.mark.integration
def test_candidates_that_do_not_fit_into_the_time_are_left_out_but_never_the_shipped_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tests.benchmarks.machine.n_cores", lambda: 2)
    compared = candidates.compared(quick=True)
    assert len(compared) == 4
    time_is_up = compare._replay_all(compared, seconds_of_one, TimeShare(0.0))
    assert candidates.shipped() in time_is_up
    assert len(time_is_up) == 2, "one for each process"
    assert set(compare._replay_all(compared, seconds_of_one, UNLIMITED)) == set(compared)


@pytest.mark.integration
def test_a_replay_does_not_need_tensorflow() -> None:
    code = "import sys, tests.benchmarks.quality; sys.exit(bool({'tensorflow', 'keras', 'mlflow'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
