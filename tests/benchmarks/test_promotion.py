"""Replays in which trials pause at a rung: who goes on, who waits, and when a waiting trial resumes."""

import binascii
from collections.abc import Sequence

import optuna
import pytest

from rnnexp.config.sweep import HyperbandPruner, NoPruner, Pruner, RandomSampler, SuccessiveHalvingPruner, TpeSampler
from rnnexp.storage import sampling
from tests.benchmarks.quality import promotion
from tests.benchmarks.quality.curves import Curve, draw_settings, imdb_sweep
from tests.benchmarks.quality.replay import Candidate, Cost, ReplayResult, replay
from tests.benchmarks.test_replay import NO_COST, UNREACHABLE

EPOCHS = 8


def halving(min_resource: int = 2, reduction_factor: int = 2) -> SuccessiveHalvingPruner:
    return SuccessiveHalvingPruner(
        name="successive_halving", min_resource=min_resource, reduction_factor=reduction_factor
    )


def build(values: dict[int, float], pruner: Pruner, epoch: int = 2) -> promotion.Promotion:
    """Returns the rungs after these trials have reported one epoch."""
    built = promotion.build(pruner, "study", EPOCHS)
    for number, value in values.items():
        built.add(number, epoch, value)
    return built


def test_a_rung_admits_the_best_share() -> None:
    rungs = build({0: 0.7, 1: 0.9, 2: 0.8, 3: 0.6, 4: 0.5}, halving())
    paused = [number for number in range(5) if rungs.must_pause(number, 2, closing=False)]
    assert paused == [0, 3, 4], "two of five go on"
    assert not rungs.must_pause(0, 3, closing=False), "epoch 3 is no rung"


def test_the_first_trial_at_a_rung_waits_unless_no_trial_is_left_to_start() -> None:
    rungs = build({0: 0.7}, halving())
    assert rungs.must_pause(0, 2, closing=False)
    assert not rungs.must_pause(0, 2, closing=True)
    assert rungs.next({0}, closing=False) is None
    assert rungs.next({0}, closing=True) == 0


def test_the_older_of_two_equal_trials_is_the_better_one() -> None:
    rungs = build({1: 0.7, 0: 0.7}, halving())
    assert not rungs.must_pause(0, 2, closing=False)
    assert rungs.must_pause(1, 2, closing=False)


def test_a_paused_trial_of_the_latest_rung_resumes_first() -> None:
    rungs = build({0: 0.7, 1: 0.9, 2: 0.8, 3: 0.6}, halving())
    assert rungs.next({0, 2, 3}, closing=False) == 2
    for number in (1, 2):
        rungs.add(number, 4, 0.9 + number / 100)
    assert rungs.next({0, 1, 2, 3}, closing=False) == 2, "one of the two at epoch 4"
    assert rungs.next({0, 1, 3}, closing=False) is None, "epoch 2 has admitted 1 and 2 already"


@pytest.mark.parametrize(("pruner", "expected"), [(halving(), [2, 4]), (halving(1, 3), [1, 3]), (halving(3, 3), [3])])
def test_rungs_are_before_the_last_epoch(pruner: SuccessiveHalvingPruner, expected: list[int]) -> None:
    rungs, paused = build({}, pruner), []
    for epoch in range(1, EPOCHS + 1):
        rungs.add(epoch, epoch, 0.5)
        if rungs.must_pause(epoch, epoch, closing=False):
            paused.append(epoch)
    assert paused == expected


def test_hyperband_has_the_brackets_of_optuna() -> None:
    pruner = HyperbandPruner(name="hyperband")
    theirs = sampling.pruner(pruner, EPOCHS)
    theirs._try_initialization(optuna.create_study(study_name="study"))
    assert theirs._n_brackets == 2
    sizes = theirs._trial_allocation_budgets
    rungs = [build({number: 0.5}, pruner, epoch=1) for number in range(20)]
    paused = [number for number, each in enumerate(rungs) if each.must_pause(number, 1, closing=False)]
    expected = [n for n in range(20) if binascii.crc32(f"study_{n}".encode()) % sum(sizes) < sizes[0]]
    assert 0 < len(expected) < 20
    assert paused == expected, "the trials of the other bracket have no rung at epoch 1"


def curves(finals: Sequence[float], late: Sequence[int] = ()) -> list[Curve]:
    """Returns curves of ten seconds an epoch; the late ones are the worst until epoch 6 and then reach their value."""
    return [
        Curve(n, settings, _values(final, n in late), (10.0,) * EPOCHS, 0.0)
        for n, (settings, final) in enumerate(zip(draw_settings(len(finals)), finals, strict=True))
    ]


def _values(final: float, late: bool) -> tuple[float, ...]:
    return (0.1,) * 6 + (final, final) if late else tuple(final * (0.5 + epoch / 16) for epoch in range(1, EPOCHS + 1))


def run(
    recorded: list[Curve],
    threshold: float = UNREACHABLE,
    *,
    workers: int = 1,
    cost: Cost = NO_COST,
    pause: bool = False,
    resumes_rest: bool = False,
) -> ReplayResult:
    chosen = Candidate(RandomSampler(name="random"), halving(), nearest=False, pause=pause, resumes_rest=resumes_rest)
    return replay(recorded, imdb_sweep(), chosen, 3, threshold, cost, workers)


FINALS = [0.8 + n / 1000 for n in range(32)]


def test_pausing_trains_the_best_to_the_end_and_the_worst_to_the_first_rung() -> None:
    found = run(curves(FINALS), pause=True)
    assert (found.best, found.n_trials) == (FINALS[-1], 32)
    # In the best order 16 of 32 stop at epoch 2, and 8 of the others at epoch 4. A rung also admits trials that are
    # among its best only until better ones come.
    assert 16 * 2 + 8 * 4 + 8 * 8 <= found.n_epochs < 32 * EPOCHS * 0.6


def test_a_late_winner_is_missed_by_rungs_and_found_if_the_rest_runs() -> None:
    recorded = curves([*FINALS, 0.99], late=[32])
    assert not run(recorded, 0.99).reached
    assert not run(recorded, 0.99, pause=True).reached, "no rung admits it"
    found = run(recorded, 0.99, pause=True, resumes_rest=True)
    assert found.reached
    assert found.n_trials == 33


def test_the_rest_runs_completely_and_no_epoch_is_trained_twice() -> None:
    found = run(curves(FINALS), pause=True, resumes_rest=True, workers=2)
    assert (found.n_trials, found.n_epochs) == (32, 32 * EPOCHS)
    assert found.seconds == pytest.approx(32 * EPOCHS * 10.0 / 2, rel=0.05)


def test_each_start_costs_the_seconds_beside_the_epochs() -> None:
    """Of two equal trials, the first waits at epoch 2, and both wait once more: at epoch 4, or until no other runs."""
    cost = Cost(start_s=5.0, trial_s=1.0, source="given")
    found = run(curves([0.8]), cost=cost, pause=True)
    assert found.seconds == pytest.approx(5.0 + 1.0 + 8 * 10.0), "the only trial never waits"
    both = run(curves([0.8, 0.8]), cost=cost, pause=True, resumes_rest=True)
    n_starts = round((both.seconds - 5.0 - 2 * 8 * 10.0) / 1.0)
    assert n_starts > 2, "a start for each trial and each resumption"


def test_a_sampler_does_not_see_paused_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """TPE asks the storage for the trials; those that wait at a rung are not among them, as in state WAITING."""
    seen: list[int] = []
    draw = optuna.samplers.TPESampler.sample_relative

    def sample_relative(self: object, study: optuna.Study, *args: object) -> object:
        seen.append(len(study.get_trials(deepcopy=False)))
        return draw(self, study, *args)

    monkeypatch.setattr(optuna.samplers.TPESampler, "sample_relative", sample_relative)
    tpe = TpeSampler(name="tpe", n_startup_trials=4)
    recorded, n_seen = curves(FINALS), []
    for candidate in (Candidate(tpe, halving(), pause=True), Candidate(tpe, NoPruner(name="none"))):
        seen.clear()
        replay(recorded, imdb_sweep(), candidate, 3, UNREACHABLE, NO_COST, 1)
        n_seen.append(seen[-1])
    assert n_seen[1] == 32, "all earlier trials and the new one"
    assert n_seen[0] <= 20, "about half of the trials wait"
