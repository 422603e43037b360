"""Importances: a setting that decides the best tenth stands out, and noise is called noise."""

import random
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution, distribution_to_json

from rnnexp.storage.bulk_reader import StoredTrial
from rnnexp.storage.importances import MIN_TRIALS, Importances, compute
from rnnexp.trial.states import State

SPACE = {
    "model.cell": CategoricalDistribution(["simple_rnn", "gru", "lstm"]),
    "model.units": IntDistribution(16, 128, log=True),
    "model.dropout": FloatDistribution(0.0, 0.5),
    "train.learning_rate": FloatDistribution(0.0003, 0.01, log=True),
    "data.maxlen": CategoricalDistribution([100, 200, 400]),
}
STORED_SPACE = {name: distribution_to_json(distribution) for name, distribution in SPACE.items()}
Value = Callable[[dict[str, Any], random.Random], float]


def trials(n: int, value: Value, *, seed: int = 0, n_pruned: int = 0) -> list[StoredTrial]:
    """Returns random trials; the last ones are pruned."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    rng, made = random.Random(seed), []
    for number in range(n):
        params = study.ask(SPACE).params
        state = State.PRUNED if number >= n - n_pruned else State.COMPLETE
        made.append(StoredTrial(number, state, None, None, value(params, rng), params, dict(STORED_SPACE)))
    return made


def noise(params: dict[str, Any], rng: random.Random) -> float:
    return rng.gauss(0.85, 0.01)


def by_cell(params: dict[str, Any], rng: random.Random) -> float:
    return noise(params, rng) + (0.03 if params["model.cell"] == "lstm" else 0.0)


def test_too_few_trials_have_no_importances() -> None:
    """With 11 trials, pure noise gives one setting more than half of the sum."""
    found = compute(trials(MIN_TRIALS - 1, by_cell), maximize=True)
    assert found == Importances((), MIN_TRIALS - 1, 0)


def test_a_setting_that_matters_is_above_chance() -> None:
    found = compute(trials(80, by_cell), maximize=True)
    assert found.rows[0].setting == "model.cell"
    assert not found.rows[0].is_noise
    assert sum(row.share for row in found.rows) == pytest.approx(1.0)
    assert {row.setting for row in found.rows} == set(SPACE)
    shares = [row.share for row in found.rows]
    assert shares == sorted(shares, reverse=True)
    assert all(0.0 <= row.noise_median <= row.noise_limit for row in found.rows)


def test_the_direction_counts() -> None:
    def worse(params: dict[str, Any], rng: random.Random) -> float:
        return 1.0 - by_cell(params, rng)

    found = {row.setting: row.share for row in compute(trials(80, worse), maximize=False).rows}
    assert found == pytest.approx({row.setting: row.share for row in compute(trials(80, by_cell), maximize=True).rows})


def test_noise_is_called_noise() -> None:
    """Of 8 studies with 5 settings each, 2 shares exceed the 95% quantile on average."""
    n_above = 0
    for seed in range(8):
        found = compute(trials(60, noise, seed=seed), maximize=True)
        n_above += len(found.rows) - len(found.noise)
    assert n_above <= 6


def test_the_same_trials_give_the_same_importances() -> None:
    one = trials(60, noise)
    assert compute(one, maximize=True) == compute(one, maximize=True)


def test_pruned_trials_count() -> None:
    """Almost all trials of one cell were pruned; leaving them out would leave out what decides."""

    def value(params: dict[str, Any], rng: random.Random) -> float:
        return by_cell(params, rng)

    made = trials(90, value)
    for trial in made:
        if trial.params["model.cell"] != "lstm":
            trial.state = State.PRUNED
    found = compute(made, maximize=True)
    assert (found.n_trials, found.n_pruned) == (90, sum(trial.params["model.cell"] != "lstm" for trial in made))
    assert found.rows[0].setting == "model.cell"
    assert not found.rows[0].is_noise


def test_unfinished_trials_and_trials_without_a_finite_value_are_left_out() -> None:
    made = trials(MIN_TRIALS + 3, by_cell)
    made[0].state = State.FAIL
    made[1].value = float("inf")
    made[2].state = State.WAITING
    made[3].value = None
    found = compute(made, maximize=True)
    assert (found.rows, found.n_trials) == ((), MIN_TRIALS - 1)


def test_a_long_study_is_shuffled_less_often() -> None:
    """The time grows with the number of trials: 10,000 take some seconds."""
    assert compute(trials(60, noise), maximize=True).n_shuffles == 100
    assert compute(trials(60, noise) * 20, maximize=True).n_shuffles == 20


def test_nothing_varied() -> None:
    assert compute(trials(60, lambda params, rng: 0.5), maximize=True).rows == ()


def test_a_conditional_setting_has_an_importance() -> None:
    made = []
    for number, trial in enumerate(trials(80, noise)):
        if number % 2:
            trial.params["clip.threshold"] = 0.1 + number / 10
            trial.distributions["clip.threshold"] = distribution_to_json(FloatDistribution(0.1, 10.0, log=True))
        if number % 2 and number > 60:
            trial.value = 0.9 + number / 1000
        made.append(trial)
    found = compute(made, maximize=True)
    assert {row.setting for row in found.rows} == {*SPACE, "clip.threshold"}
    assert found.rows[0].setting == "clip.threshold"
