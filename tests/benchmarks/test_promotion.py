"""Replays in which trials pause at a rung: who goes on, who waits, and when a waiting trial resumes."""

from collections.abc import Sequence
from typing import Any

import optuna
import pytest

from rnnexp.config.sweep import RandomSampler, SuccessiveHalvingPruner, TpeSampler
from rnnexp.storage import sampling
from tests.benchmarks.quality.curves import Curve, draw_settings, imdb_sweep
from tests.benchmarks.quality.replay import Candidate, Cost, ReplayResult, replay
from tests.benchmarks.test_replay import NO_COST, UNREACHABLE

EPOCHS = 8


def halving(min_resource: int = 2, reduction_factor: int = 2) -> SuccessiveHalvingPruner:
    return SuccessiveHalvingPruner(
        name="successive_halving", min_resource=min_resource, reduction_factor=reduction_factor
    )


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


def test_a_sampler_sees_a_paused_trial_as_a_pruned_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """TPE asks the storage for the trials that have ended; most of the earlier ones are paused."""
    seen: list[int] = []
    draw = sampling.TpeOfNewTrials.sample_relative

    def sample_relative(self: Any, study: Any, trial: Any, search_space: Any) -> Any:
        states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
        seen.append(len(study.get_trials(deepcopy=False, states=states)))
        return draw(self, study, trial, search_space)

    monkeypatch.setattr(sampling.TpeOfNewTrials, "sample_relative", sample_relative)
    candidate = Candidate(TpeSampler(name="tpe", n_startup_trials=4), halving(), pause=True)
    replay(curves(FINALS), imdb_sweep(), candidate, 3, UNREACHABLE, NO_COST, 1)
    assert seen[-1] == 31, "all earlier trials"
