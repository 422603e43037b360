"""No two trials of a study have the same settings, and what is drawn is what Optuna draws."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest

from rnnexp.config.load import load_sweep
from rnnexp.config.sweep import SweepConfig, TpeSampler
from rnnexp.storage import sampling
from rnnexp.storage.drawing import rounded
from rnnexp.storage.settings_source import FIXED
from rnnexp.storage.store import StudyStore
from rnnexp.trial.states import State

Load = Callable[..., SweepConfig]

SMALL = """
  model.units: {choice: [8, 16]}
  clip.kind: {choice: [none, norm]}
  clip.threshold: {choice: [1.0, 5.0], when: {clip.kind: [norm]}}
"""
"""Six combinations: the threshold does not count without clipping."""
UNCONDITIONAL = SMALL.replace(", when: {clip.kind: [norm]}", "")
ENDLESS = """
  model.units: {int: [8, 64]}
  model.dropout: {float: [0.0, 0.5]}
  clip.kind: {choice: [none, norm]}
  clip.threshold: {float: [0.1, 10], log: true, when: {clip.kind: [norm]}}
"""
RANDOM, TPE = "{name: random, seed: 3}", "{name: tpe, seed: 3, n_startup_trials: 4}"


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(space: str, sampler: str = RANDOM, n_trials: int | None = 100, extra: str = "") -> SweepConfig:
        budget = f"budget: {{trials: {n_trials}}}\n" if n_trials else ""
        file = tmp_path / "sweep.yaml"
        file.write_text(
            f"study: s\nsampler: {sampler}\n{budget}base: {{data: {{name: reviews}}}}\nspace:{space}{extra}\n"
        )
        return load_sweep(file)

    return load


def new_store(config: SweepConfig, study: optuna.Study | None = None) -> StudyStore:
    study = study or optuna.create_study(
        study_name="s", direction="maximize", pruner=sampling.pruner(config.pruner, config.base.train.epochs)
    )
    return StudyStore(study, config)


def value_of(settings: dict[str, Any]) -> float:
    """Returns a result that TPE can learn from; the best settings of the small space are its first combination."""
    return -float(settings.get("model.units", 0)) - float(settings.get("clip.threshold", 0))


def run(opened: StudyStore, n: int, state: State = State.COMPLETE) -> list[dict[str, Any]]:
    """Runs up to n trials one after another; returns their settings."""
    drawn = []
    for request in itertools.islice(iter(opened.ask, None), n):
        drawn.append(request.settings)
        value = value_of(request.settings) if state is State.COMPLETE else None
        opened.tell(request.number, state, value, {})
    return drawn


def different(drawn: Sequence[dict[str, Any]]) -> set[tuple[tuple[str, Any], ...]]:
    return {tuple(sorted((name, rounded(value)) for name, value in settings.items())) for settings in drawn}


@pytest.mark.parametrize("sampler", [RANDOM, TPE])
@pytest.mark.parametrize("pruner", ["none", "hyperband"])
def test_a_small_space_is_used_up_without_a_repetition(load: Load, sampler: str, pruner: str) -> None:
    opened = new_store(load(SMALL, sampler, extra=f"pruner: {{name: {pruner}}}"))
    drawn = run(opened, 100)
    assert len(drawn) == len(different(drawn)) == 6
    assert opened.ask() is None
    assert opened.counts.total() == 6, "rejected draws leave no trials behind"


@pytest.mark.parametrize("sampler", [RANDOM, TPE])
def test_running_and_failed_trials_count(load: Load, sampler: str) -> None:
    opened = new_store(load(SMALL, sampler))
    running = [opened.ask(), opened.ask()]
    drawn = [request.settings for request in running if request] + run(opened, 100, State.FAIL)
    assert len(drawn) == len(different(drawn)) == 6


@pytest.mark.parametrize("sampler", [RANDOM, TPE])
def test_a_setting_that_another_one_switches_off_does_not_count(load: Load, sampler: str) -> None:
    """Without a condition, eight combinations have six settings in effect: `none` switches the threshold off."""
    opened = new_store(load(UNCONDITIONAL, sampler))
    drawn = run(opened, 100)
    assert len(drawn) == 6
    assert len({(one["model.units"], one["clip.kind"], one["clip.threshold"]) for one in drawn}) == 6
    assert sum(one["clip.kind"] == "none" for one in drawn) == 2


def test_a_grid_does_not_repeat_a_setting_that_another_one_switches_off(load: Load) -> None:
    drawn = run(new_store(load(UNCONDITIONAL, "{name: grid}", None)), 100)
    assert sum(one["clip.kind"] == "none" for one in drawn) == 2
    assert len(drawn) == 6


def test_the_seed_distinguishes_trials(load: Load) -> None:
    drawn = run(new_store(load(SMALL + "  train.seed: {choice: [1, 2]}\n")), 100)
    assert len(drawn) == len(different(drawn)) == 12


@pytest.mark.parametrize("sampler", [RANDOM, TPE])
@pytest.mark.parametrize("space", [SMALL, ENDLESS])
def test_draws_are_repeated_by_the_seed_also_after_a_restart(load: Load, sampler: str, space: str) -> None:
    config = load(space, sampler)
    whole = run(new_store(config), 12)
    study = optuna.create_study(study_name="s", direction="maximize")
    parts = [settings for _ in range(6) for settings in run(new_store(config, study), 2)]
    assert parts == whole
    assert run(new_store(load(space, sampler.replace("seed: 3", "seed: 4"))), 12) != whole


def test_random_draws_of_a_small_space_do_not_depend_on_parallel_trials(load: Load) -> None:
    config = load(SMALL)
    opened = new_store(config)
    at_once = [request.settings for request in iter(opened.ask, None)]
    assert at_once == run(new_store(config), 100)


def test_tpe_does_not_stay_at_the_best_point_that_it_found(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sampler that always draws the same point still lets the study end, after few draws of each trial."""
    n_draws = 0

    class Stubborn(optuna.samplers.TPESampler):  # type: ignore[misc]
        def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
            return {}

        def sample_relative(self, *_: Any) -> dict[str, Any]:
            nonlocal n_draws
            n_draws += 1
            return {"model.units": 8, "clip.kind": "none"}

    monkeypatch.setattr(sampling, "sampler", lambda *_: Stubborn())
    drawn = run(new_store(load(SMALL, TPE)), 100)
    assert drawn[0] == {"model.units": 8, "clip.kind": "none"}
    assert len(different(drawn)) == 6
    assert n_draws <= 7 * 10


def test_the_last_unused_point_of_a_large_space_is_found(load: Load) -> None:
    """Nearly all draws of 4,000 combinations are used, so that the unused one comes from the list."""
    space = "\n  model.units: {int: [1, 2000]}\n  model.layers: {choice: [1, 2]}\n"
    config = load(space, n_trials=5000)
    opened = new_store(config)
    for units in range(1, 2001):
        for layers in (1, 2):
            if (units, layers) != (1234, 2):
                opened._source._drawer.used.add(
                    config.base.with_settings({"model.units": units, "model.layers": layers})
                )
    assert run(opened, 3) == [{"model.units": 1234, "model.layers": 2}]


def test_steps_are_compared_as_they_are_written(load: Load) -> None:
    """A drawn 0.1 + 2 * 0.1 has other last digits than 0.3."""
    space = "\n  model.dropout: {float: [0.1, 0.5], step: 0.1}\n"
    drawn = run(new_store(load(space, extra="try: [{model.dropout: 0.3}]")), 100)
    assert sorted(rounded(one["model.dropout"]) for one in drawn) == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert drawn[0] == {"model.dropout": 0.3}


def _optuna_draws(config: SweepConfig, n: int, n_at_once: int) -> list[dict[str, Any]]:
    """Draws with Optuna alone: a new sampler for each trial, and the methods `suggest_…` in the order of the file."""
    study, drawn, waiting = optuna.create_study(study_name="s", direction="maximize"), [], list[Any]()
    for number in range(n):
        seed = sampling.seed(config.sampler, number)
        if isinstance(config.sampler, TpeSampler):
            study.sampler = optuna.samplers.TPESampler(
                seed=seed, n_startup_trials=4, multivariate=True, group=True, constant_liar=True
            )
        else:
            study.sampler = optuna.samplers.RandomSampler(seed=seed)
        trial = study.ask()
        trial.suggest_int("model.units", 8, 64)
        trial.suggest_float("model.dropout", 0.0, 0.5)
        if trial.suggest_categorical("clip.kind", ("none", "norm")) == "norm":
            trial.suggest_float("clip.threshold", 0.1, 10, log=True)
        drawn.append(trial.params)
        waiting.append(trial)
        if len(waiting) == n_at_once:
            first = waiting.pop(0)
            study.tell(first, value_of(first.params))
    return drawn


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("sampler", [RANDOM, TPE])
def test_new_settings_are_those_that_optuna_draws(load: Load, sampler: str) -> None:
    """The trial is drawn before it is stored; a newer Optuna must not change what that gives."""
    config = load(ENDLESS, sampler)
    assert run(new_store(config), 25) == _optuna_draws(config, 25, n_at_once=1)


def test_a_new_trial_is_stored_in_one_write(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """A supervisor that is killed leaves a trial with all its settings, or none."""
    storage = optuna.storages.InMemoryStorage()
    opened = new_store(load(ENDLESS, TPE), optuna.create_study(study_name="s", direction="maximize", storage=storage))
    run(opened, 6)
    for name in [name for name in dir(storage) if name.startswith("set_")]:
        monkeypatch.setattr(storage, name, None)
    request = opened.ask()
    assert request is not None
    (trial,) = [trial for trial in storage.get_all_trials(0) if trial.number == request.number]
    assert (trial.params, trial.state.name) == (request.settings, "RUNNING")


def test_a_waiting_trial_without_settings_gets_unused_ones(load: Load) -> None:
    """A trial whose folder was lost, and one that an older version created before it was interrupted."""
    config = load(SMALL)
    study = optuna.create_study(study_name="s", direction="maximize")
    started = run(new_store(config, study), 3)
    waiting = optuna.trial.TrialState.WAITING
    study.add_trial(optuna.trial.create_trial(state=waiting))
    half = {"model.units": 8}
    units = {"model.units": sampling.distribution(config.space["model.units"])}
    study.add_trial(optuna.trial.create_trial(state=waiting, params=half, distributions=units))
    fixed = {"model.units": 8, "clip.kind": "none"}
    study.add_trial(optuna.trial.create_trial(state=waiting, system_attrs={FIXED: fixed}))
    opened = new_store(config, study)
    drawn = run(opened, 3)
    assert drawn[1]["model.units"] == half["model.units"]
    assert drawn[2] == fixed
    assert [trial.params for trial in study.trials] == started + drawn
    rest = run(opened, 100)
    assert len(different(started + drawn + rest)) == 6


def test_a_study_continues_when_its_space_becomes_wider(load: Load) -> None:
    study = optuna.create_study(study_name="s", direction="maximize")
    space = "\n  model.units: {int: [8, 10]}\n"
    assert len(run(new_store(load(space), study), 100)) == 3
    again = new_store(load(space), study)
    assert again.ask() is None
    assert len(run(new_store(load(space.replace("10", "12")), study), 100)) == 2
