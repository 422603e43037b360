"""Tests of `quality`: replays use the recorded values and seconds, and recordings record nothing twice."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
from rnnexp.trial.events import AttemptEnded, EpochEnded, Event, Started
from tests.benchmarks.quality import candidates, compare
from tests.benchmarks.quality.compare import common_curves, compute_baseline, replay_seeds
from tests.benchmarks.quality.curves import Curve, Recording, check_space, describe, draw_settings, imdb_sweep
from tests.benchmarks.quality.program_curves import overhead_s
from tests.benchmarks.quality.record import record_sequentially
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


def test_the_target_is_about_the_shipped_pair() -> None:
    """Even if another candidate is faster."""
    baseline = compute_baseline(curves(6), curves(6), EPOCHS, range(5))
    other, shipped = Candidate(RandomSampler(name="random"), NONE, nearest=False), candidates.shipped()
    assert (shipped.sampler.name, shipped.pruner.name) == ("tpe", "hyperband")
    assert shipped in candidates.CANDIDATES
    fast, slow = ([[ReplayResult(seconds, True, 1, 1, 0.9)] * 3] * 3 for seconds in (1.0, baseline.seconds / 2))
    target = compare._target([other, shipped], [fast, slow], baseline)
    assert target.value == pytest.approx(2.0)
    assert not target.met
    missed = [[ReplayResult(1.0, False, 1, 1, 0.9)] * 3] * 3
    assert compare._target([other, shipped], [fast, missed], baseline).value == 0.0


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


def test_baseline_uses_two_thirds_of_the_curves() -> None:
    recorded = curves(60)
    found = compute_baseline(recorded, recorded, EPOCHS, range(200))
    assert found.n_trials == 40
    assert found.seconds == pytest.approx(40 * (4 * 10.0 + 1.0))
    assert found.threshold == max(recorded[-1].val_accuracy)  # two thirds of the searches include the best curve
    assert found.percentiles == pytest.approx((0.5 + 0.0100 * 44.25, 0.5 + 0.0100 * 53.1))
    assert found.thresholds == (*found.percentiles, found.threshold)
    by_threshold = replay_seeds(
        Candidate(RandomSampler(name="random"), NONE, False), recorded, EPOCHS, found.thresholds, NO_COST, 1, range(50)
    )
    assert all(result.reached for results in by_threshold for result in results)
    for low, middle, high in zip(*by_threshold, strict=True):
        assert low.seconds <= middle.seconds <= high.seconds


def test_threshold_from_rnnexp_s_values_is_marked() -> None:
    ours = curves(6)
    scaled = [Curve(one.number, one.settings, (), (30.0,) * EPOCHS, 1.0, scaled=True) for one in ours]
    found = compute_baseline(ours, scaled, EPOCHS, range(5))
    assert not found.own_values
    assert found.threshold == max(ours[-1].val_accuracy)
    assert found.seconds == pytest.approx(4 * (4 * 30.0 + 1.0))


class Trainer:
    """Records which configurations it trains; is interrupted at one of them."""

    def __init__(self, interrupted_at: int | None = None) -> None:
        self.interrupted_at = interrupted_at
        self.trained: list[int] = []

    def __call__(self, number: int, settings: Mapping[str, Any]) -> Curve:
        if number == self.interrupted_at:
            raise KeyboardInterrupt
        self.trained.append(number)
        return Curve(number, dict(settings), (0.5, 0.6), (1.0, 1.0), 0.1)


def missing(path: Path, n: int, epochs: int) -> dict[int, dict[str, Any]]:
    recording = Recording.open(path, describe("plain", epochs, 1, small=False))
    return recording.missing(draw_settings(n), epochs, "whole")


def test_interrupted_recording_is_continued_and_trains_nothing_twice(tmp_path: Path) -> None:
    path = tmp_path / "plain.json"
    first, second = Trainer(interrupted_at=3), Trainer()
    with pytest.raises(KeyboardInterrupt):
        record_sequentially(Recording(describe("plain", 2, 1, small=False)), path, missing(path, 5, 2), first)
    record_sequentially(Recording.load(path), path, missing(path, 5, 2), second)
    assert (first.trained, second.trained) == ([0, 1, 2], [3, 4])
    recording = Recording.load(path)
    assert [curve.settings for curve in recording.curves] == draw_settings(5)
    check_space(recording)
    assert missing(path, 5, 2) == {}


def test_longer_curve_replaces_a_shorter_one_but_not_the_reverse(tmp_path: Path) -> None:
    path = tmp_path / "plain.json"
    record_sequentially(Recording(describe("plain", 2, 1, small=False)), path, missing(path, 2, 2), Trainer())
    assert list(missing(path, 2, 3)) == [0, 1]
    recording, longer = Recording.load(path), Curve(1, draw_settings(2)[1], (0.1, 0.2, 0.3), (1.0,) * 3, None)
    scaled = Curve(1, draw_settings(2)[1], (), (9.0,) * 8, None, scaled=True)
    recording = recording.with_curve(longer).with_curve(scaled)
    assert recording.curves[1] == longer
    assert list(recording.missing(draw_settings(2), 3, "whole")) == [0]


@pytest.mark.parametrize("values_first", [True, False])
def test_values_and_seconds_can_be_recorded_in_either_order(values_first: bool) -> None:
    settings = draw_settings(1)
    values = Curve(0, settings[0], (0.5, 0.6), (), None)
    seconds = Curve(0, settings[0], (), (9.0, 8.0), 0.5, scaled=True)
    recording = Recording(describe("plain", 2, 1, small=False))
    for part, one in (("values", values), ("seconds", seconds))[:: 1 if values_first else -1]:
        assert list(recording.missing(settings, 2, part)) == [0]
        recording = recording.with_curve(one)
        assert not recording.missing(settings, 2, part)
    assert recording.curves == (Curve(0, settings[0], (0.5, 0.6), (9.0, 8.0), 0.5, scaled=True),)
    assert list(recording.missing(settings, 2, "whole")) == [0], "scaled seconds are not those of complete epochs"
    timed = Curve(0, settings[0], (0.5, 0.6), (9.1, 8.1), 0.4)
    assert recording.with_curve(timed).curves == (timed,)


def test_configuration_without_seconds_of_the_plain_loop_is_left_out() -> None:
    ours = curves(6)
    plain = Recording(describe("plain", EPOCHS, 1, small=False), tuple(ours[:2]))
    for one in ours[2:]:
        plain = plain.with_curve(Curve(one.number, one.settings, one.val_accuracy, (), None))
    found, others = common_curves(Recording(describe("rnnexp", EPOCHS, 2, small=False), tuple(ours)), plain, EPOCHS)
    assert [curve.number for curve in found] == [curve.number for curve in others] == [0, 1]


def test_parts_of_two_machines_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "plain.json"
    Recording({**describe("plain", 2, 1, small=False), "machine": "another"}).save(path)
    with pytest.raises(SystemExit, match="machine was another"):
        missing(path, 2, 2)


def test_drawn_settings_do_not_depend_on_their_number() -> None:
    assert draw_settings(60)[:6] == draw_settings(6)
    assert len({str(settings) for settings in draw_settings(60)}) == 60


def trial(*starts: float, trained: float, ended: float) -> list[Event]:
    """Returns the events of a trial with attempts at these times and one epoch."""
    started: list[Event] = [
        Started(time, attempt, 0, pid=1, n_params=1, data={}, plan={}) for attempt, time in enumerate(starts, start=1)
    ]
    return [*started, EpochEnded(starts[-1] + trained, 1, {}, trained, 1, 0.5), AttemptEnded(ended, "COMPLETE")]


def test_overhead_counts_from_the_end_of_the_previous_trial_in_the_slot() -> None:
    trial_events = {
        0: trial(10.0, trained=20.0, ended=31.0),
        1: trial(10.0, trained=40.0, ended=52.0),
        2: trial(32.0, trained=30.0, ended=63.0),  # in the slot of 0
        3: trial(54.0, trained=20.0, ended=75.0),  # in the slot of 1
        4: trial(64.0, 210.0, trained=5.0, ended=230.0),  # interrupted
        5: trial(211.0, trained=5.0, ended=221.0),  # the first of its slot after the second start
        6: trial(223.0, trained=6.0, ended=230.0),
    }
    found = overhead_s(trial_events, starts=[0.0, 200.0])
    assert found == {2: pytest.approx(2.0), 3: pytest.approx(3.0), 6: pytest.approx(3.0)}
