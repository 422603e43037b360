"""Time to quality: what is replayed is what was recorded, and what is recorded is recorded once."""

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
from tests.benchmarks.quality.compare import baseline, common, replays
from tests.benchmarks.quality.curves import Curve, Recording, about, check_space, draw, sweep
from tests.benchmarks.quality.program_curves import beside_s
from tests.benchmarks.quality.record import one_by_one
from tests.benchmarks.quality.replay import Candidate, Cost, Reached, distance, replay

EPOCHS = 4
FREE = Cost(0.0, 0.0, "none")
NEVER = 2.0
"""No accuracy: a study with this threshold trains all that it would ever train."""
NONE = NoPruner(name="none")
PRUNERS: list[Pruner] = [
    MedianPruner(name="median", n_startup_trials=2, n_warmup_steps=0),
    SuccessiveHalvingPruner(name="successive_halving", reduction_factor=2),
    HyperbandPruner(name="hyperband"),
]


def curves(n: int, seconds: float = 10.0) -> list[Curve]:
    """Curves of equal seconds: configuration i ends at 0.5 + i/100, and each comes there in even steps."""
    return [
        Curve(number, settings, tuple(0.5 + number * epoch / 400 for epoch in range(1, 5)), (seconds,) * EPOCHS, 1.0)
        for number, settings in enumerate(draw(n))
    ]


def config() -> SweepConfig:
    return sweep().model_copy(update={"base": sweep().base.with_settings({"train.epochs": EPOCHS})})


def run(
    recorded: list[Curve], pruner: Pruner = NONE, threshold: float = NEVER, workers: int = 1, cost: Cost = FREE
) -> Reached:
    candidate = Candidate(RandomSampler(name="random"), pruner, nearest=False)
    return replay(recorded, config(), candidate, 3, threshold, cost, workers)


def test_a_study_without_pruner_takes_the_sum_of_its_epochs_and_costs() -> None:
    found = run(curves(6), cost=Cost(start_s=7.0, trial_s=0.5, source="given"))
    assert found.seconds == pytest.approx(7.0 + 6 * (0.5 + 4 * 10.0))
    assert (found.reached, found.n_trials, found.n_epochs) == (False, 6, 24)


def test_two_workers_halve_equal_work() -> None:
    assert run(curves(8), workers=2).seconds == pytest.approx(run(curves(8)).seconds / 2)


def test_the_clock_stops_with_the_epoch_that_has_the_threshold() -> None:
    best = [Curve(0, draw(1)[0], (0.5, 0.8, 0.7, 0.9), (1.0, 2.0, 3.0, 4.0), 0.0)]
    found = run(best, threshold=0.8)
    assert (found.reached, found.seconds, found.best) == (True, 3.0, 0.8)


@pytest.mark.parametrize("pruner", PRUNERS, ids=lambda pruner: pruner.name)
def test_a_pruner_saves_epochs_and_alters_no_value(pruner: Pruner) -> None:
    recorded = curves(12)
    pruned, whole = run(recorded, pruner), run(recorded)
    assert pruned.n_trials == whole.n_trials
    assert pruned.n_epochs < whole.n_epochs
    assert pruned.seconds == pytest.approx(10.0 * pruned.n_epochs)
    # The best curve leads at every epoch, so that no rule ends it.
    assert pruned.best == whole.best == max(recorded[-1].val_accuracy)


def test_a_sampler_is_given_each_recorded_configuration_once() -> None:
    recorded = curves(9)
    tpe = Candidate(TpeSampler(name="tpe", n_startup_trials=3), NONE)
    found = replay(recorded, config(), tpe, 1, NEVER, FREE, 2)
    assert (found.n_trials, found.n_epochs) == (9, 36)


def test_a_drawn_point_becomes_the_nearest_recorded_one() -> None:
    space, (near, far) = sweep().space, draw(2)
    assert distance(space, near, near) == 0.0
    none = {"clip.kind": "none", "model.units": 16, "model.cell": "gru"}
    value = {"clip.kind": "value", "clip.threshold": 1.0, "model.units": 128, "model.cell": "gru"}
    assert distance(space, none, value) == pytest.approx(3.0)  # the kind, the threshold, and the whole width of units
    assert distance(space, {"model.units": 16}, {"model.units": 45}) == pytest.approx(0.497, abs=0.001)
    assert distance(space, near, far) == distance(space, far, near) > 0.0


def test_a_trial_that_failed_ends_where_its_curve_does() -> None:
    failed = Curve(0, draw(1)[0], (0.6,), (10.0,), None, failed="diverged")
    found = run([failed])
    assert (found.seconds, found.n_epochs, found.best) == (10.0, 1, 0.6)


def test_the_baseline_is_of_two_thirds_of_the_curves() -> None:
    recorded = curves(60)
    found = baseline(recorded, recorded, EPOCHS, range(200))
    assert found.n_trials == 40
    assert found.seconds == pytest.approx(40 * (4 * 10.0 + 1.0))
    assert found.threshold == max(recorded[-1].val_accuracy)  # two searches of three hold the best curve
    alone = replays(
        Candidate(RandomSampler(name="random"), NONE, False), recorded, EPOCHS, found.threshold, FREE, 1, range(50)
    )
    assert all(outcome.reached for outcome in alone)


def test_a_threshold_from_the_other_programs_curves_is_told() -> None:
    ours = curves(6)
    scaled = [Curve(one.number, one.settings, (), (30.0,) * EPOCHS, 1.0, scaled=True) for one in ours]
    found = baseline(ours, scaled, EPOCHS, range(5))
    assert not found.own
    assert found.threshold == max(ours[-1].val_accuracy)
    assert found.seconds == pytest.approx(4 * (4 * 30.0 + 1.0))


class Trainer:
    """Counts what it trains; is killed at one configuration."""

    def __init__(self, killed_at: int | None = None) -> None:
        self.killed_at = killed_at
        self.trained: list[int] = []

    def __call__(self, number: int, settings: Mapping[str, Any]) -> Curve:
        if number == self.killed_at:
            raise KeyboardInterrupt
        self.trained.append(number)
        return Curve(number, dict(settings), (0.5, 0.6), (1.0, 1.0), 0.1)


def lacking(path: Path, n: int, epochs: int) -> dict[int, dict[str, Any]]:
    recording = Recording.open(path, about("plain", epochs, 1, small=False))
    return recording.lacking(draw(n), epochs, "whole")


def test_a_recording_that_was_killed_is_taken_up_and_trains_nothing_twice(tmp_path: Path) -> None:
    path = tmp_path / "plain.json"
    first, second = Trainer(killed_at=3), Trainer()
    with pytest.raises(KeyboardInterrupt):
        one_by_one(Recording(about("plain", 2, 1, small=False)), path, lacking(path, 5, 2), first)
    one_by_one(Recording.load(path), path, lacking(path, 5, 2), second)
    assert (first.trained, second.trained) == ([0, 1, 2], [3, 4])
    recording = Recording.load(path)
    assert [curve.settings for curve in recording.curves] == draw(5)
    check_space(recording)
    assert lacking(path, 5, 2) == {}


def test_a_longer_recording_replaces_a_shorter_one_and_never_the_other_way(tmp_path: Path) -> None:
    path = tmp_path / "plain.json"
    one_by_one(Recording(about("plain", 2, 1, small=False)), path, lacking(path, 2, 2), Trainer())
    assert list(lacking(path, 2, 3)) == [0, 1]
    recording, longer = Recording.load(path), Curve(1, draw(2)[1], (0.1, 0.2, 0.3), (1.0,) * 3, None)
    scaled = Curve(1, draw(2)[1], (), (9.0,) * 8, None, scaled=True)
    recording = recording.with_curve(longer).with_curve(scaled)
    assert recording.curves[1] == longer
    assert list(recording.lacking(draw(2), 3, "whole")) == [0]


@pytest.mark.parametrize("values_first", [True, False])
def test_values_and_seconds_may_come_one_after_the_other(values_first: bool) -> None:
    settings = draw(1)
    values = Curve(0, settings[0], (0.5, 0.6), (), None)
    seconds = Curve(0, settings[0], (), (9.0, 8.0), 0.5, scaled=True)
    recording = Recording(about("plain", 2, 1, small=False))
    for part, one in (("values", values), ("seconds", seconds))[:: 1 if values_first else -1]:
        assert list(recording.lacking(settings, 2, part)) == [0]
        recording = recording.with_curve(one)
        assert not recording.lacking(settings, 2, part)
    assert recording.curves == (Curve(0, settings[0], (0.5, 0.6), (9.0, 8.0), 0.5, scaled=True),)
    assert list(recording.lacking(settings, 2, "whole")) == [0], "scaled seconds are not those of whole epochs"
    timed = Curve(0, settings[0], (0.5, 0.6), (9.1, 8.1), 0.4)
    assert recording.with_curve(timed).curves == (timed,)


def test_a_configuration_without_seconds_of_the_plain_loop_is_left_out() -> None:
    ours = curves(6)
    plain = Recording(about("plain", EPOCHS, 1, small=False), tuple(ours[:2]))
    for one in ours[2:]:
        plain = plain.with_curve(Curve(one.number, one.settings, one.val_accuracy, (), None))
    found, others = common(Recording(about("rnnexp", EPOCHS, 2, small=False), tuple(ours)), plain, EPOCHS)
    assert [curve.number for curve in found] == [curve.number for curve in others] == [0, 1]


def test_parts_of_two_machines_are_not_mixed(tmp_path: Path) -> None:
    path = tmp_path / "plain.json"
    Recording({**about("plain", 2, 1, small=False), "machine": "another"}).save(path)
    with pytest.raises(SystemExit, match="machine was another"):
        lacking(path, 2, 2)


def test_the_draw_does_not_depend_on_its_length() -> None:
    assert draw(60)[:6] == draw(6)
    assert len({str(settings) for settings in draw(60)}) == 60


def trial(*starts: float, trained: float, ended: float) -> list[Event]:
    """What a trial that began at these times has left, with one epoch."""
    began: list[Event] = [
        Started(time, attempt, 0, pid=1, n_params=1, data={}, plan={}) for attempt, time in enumerate(starts, start=1)
    ]
    return [*began, EpochEnded(starts[-1] + trained, 1, {}, trained, 1, 0.5), AttemptEnded(ended, "COMPLETE")]


def test_what_a_trial_costs_beside_its_epochs_is_counted_from_the_end_of_the_one_before_it() -> None:
    happened = {
        0: trial(10.0, trained=20.0, ended=31.0),
        1: trial(10.0, trained=40.0, ended=52.0),
        2: trial(32.0, trained=30.0, ended=63.0),  # in the slot of 0
        3: trial(54.0, trained=20.0, ended=75.0),  # in the slot of 1
        4: trial(64.0, 210.0, trained=5.0, ended=230.0),  # interrupted
        5: trial(211.0, trained=5.0, ended=221.0),  # its slot's first of the second start
        6: trial(223.0, trained=6.0, ended=230.0),
    }
    found = beside_s(happened, starts=[0.0, 200.0])
    assert found == {2: pytest.approx(2.0), 3: pytest.approx(3.0), 6: pytest.approx(3.0)}
