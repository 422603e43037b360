"""The order in which the settings of `try` and of a grid start, and which of them start."""

from pathlib import Path
from typing import Any

import optuna
import pytest

from rnnexp.config.load import load_sweep
from rnnexp.config.sweep import SweepConfig
from rnnexp.config.trial import TrialConfig
from rnnexp.storage.settings_source import SettingsSource
from rnnexp.storage.store import StudyStore
from rnnexp.trial.states import State

TRY = """
try:
  - {model.units: 8, model.layers: 1}
  - {model.units: 16, model.layers: 1}
  - {model.units: 16, model.layers: 2}
  - {model.units: 32, model.layers: 1}
"""
GRID = "\nspace:\n  model.layers: {choice: [1, 2]}\n  model.units: {choice: [8, 16, 32]}\n"


def seconds(config: TrialConfig) -> float:
    return float(config.model.units)


@pytest.fixture
def study() -> optuna.Study:
    return optuna.create_study(study_name="s", direction="maximize")


def load(folder: Path, n_trials: int | None, tries: str = TRY, sampler: str = "{name: random}") -> SweepConfig:
    file = folder / "sweep.yaml"
    budget = f"budget: {{trials: {n_trials}}}\n" if n_trials else ""
    file.write_text(f"study: s\nsampler: {sampler}\n{budget}base: {{data: {{name: reviews}}}}\n{GRID}{tries}")
    return load_sweep(file)


def run(config: SweepConfig, study: optuna.Study, n: int | None = None, order: Any = seconds) -> list[tuple[int, int]]:
    """Runs trials until the budget is used up, or n; returns the units and layers of each, in the order of starts."""
    opened, started = StudyStore(study, config, seconds=order), []
    while opened.counts.total() < config.n_trials and len(started) != n:
        request = opened.ask()
        assert request is not None
        started.append((request.settings["model.units"], request.settings["model.layers"]))
        opened.tell(request.number, State.COMPLETE, 0.5, {})
    return started


def test_the_longest_of_try_start_first_and_equal_ones_in_the_order_of_the_file(
    tmp_path: Path, study: optuna.Study
) -> None:
    assert run(load(tmp_path, 4), study) == [(32, 1), (16, 1), (16, 2), (8, 1)]
    assert [trial.params["model.units"] for trial in study.trials] == [32, 16, 16, 8], "the numbers follow the starts"


def test_the_longest_of_a_grid_start_first(tmp_path: Path, study: optuna.Study) -> None:
    config = load(tmp_path, None, "", "{name: grid}")
    assert run(config, study) == [(32, 1), (32, 2), (16, 1), (16, 2), (8, 1), (8, 2)]


def test_try_starts_before_the_rest_of_the_grid(tmp_path: Path, study: optuna.Study) -> None:
    tries = "try: [{model.units: 8, model.layers: 2}, {model.units: 16, model.layers: 2}]\n"
    config = load(tmp_path, None, tries, "{name: grid}")
    assert run(config, study) == [(16, 2), (8, 2), (32, 1), (32, 2), (16, 1), (8, 1)]


def test_the_trials_that_a_sampler_draws_follow(tmp_path: Path, study: optuna.Study) -> None:
    started = run(load(tmp_path, 6), study)
    assert started[:4] == [(32, 1), (16, 1), (16, 2), (8, 1)]
    assert set(started[4:]) == {(8, 2), (32, 2)}


@pytest.mark.parametrize(("n_trials", "first"), [(4, (32, 1)), (5, (8, 1))])
def test_tpe_keeps_the_order_of_the_file_if_it_draws(
    tmp_path: Path, study: optuna.Study, n_trials: int, first: tuple[int, int]
) -> None:
    """Its draws depend on the order of the earlier trials."""
    assert run(load(tmp_path, n_trials, sampler="{name: tpe}"), study)[0] == first


@pytest.mark.parametrize("sampler", ["{name: random}", "{name: grid}"])
def test_a_resumed_study_keeps_the_order(tmp_path: Path, study: optuna.Study, sampler: str) -> None:
    config = load(tmp_path, 6, sampler=sampler)
    whole = run(config, optuna.create_study(study_name="s", direction="maximize"))
    assert [one for _ in range(3) for one in run(config, study, 2)] == whole


@pytest.mark.parametrize("sampler", ["{name: random}", "{name: grid}"])
def test_a_small_budget_runs_the_first_entries_of_the_file(tmp_path: Path, study: optuna.Study, sampler: str) -> None:
    """Not the longest ones: a first look stays short."""
    assert run(load(tmp_path, 2, sampler=sampler), study) == [(16, 1), (8, 1)]
    assert run(load(tmp_path, 4, sampler=sampler), study) == [(32, 1), (16, 2)]


def test_a_small_budget_runs_the_first_points_of_a_grid(tmp_path: Path, study: optuna.Study) -> None:
    assert run(load(tmp_path, 2, "", "{name: grid}"), study) == [(16, 1), (8, 1)]
    assert run(load(tmp_path, 4, "", "{name: grid}"), study) == [(32, 1), (8, 2)]


def test_a_study_that_an_older_version_started_repeats_no_entry(tmp_path: Path, study: optuna.Study) -> None:
    """Older versions started in the order of the file."""
    config = load(tmp_path, 4)
    assert run(config, study, 2, order=lambda _: 0.0) == [(8, 1), (16, 1)]
    assert run(config, study) == [(32, 1), (16, 2)]


def test_an_entry_that_repeats_another_is_left_out_and_named(tmp_path: Path, study: optuna.Study) -> None:
    tries = TRY + "  - {model.layers: 1, model.units: 16}\n"
    config = load(tmp_path, 5, tries)
    assert StudyStore(study, config).repeated_tries == [4]
    started = run(config, study)
    assert started[:4] == [(32, 1), (16, 1), (16, 2), (8, 1)]
    assert len(set(started)) == 5, "the sampler draws the fifth"
    assert StudyStore(study, config).repeated_tries == [4]


def test_equal_entries_that_leave_a_setting_open_get_different_trials(tmp_path: Path, study: optuna.Study) -> None:
    tries = "try: [{model.units: 8}, {model.units: 8}, {model.units: 8}]\n"
    config = load(tmp_path, 3, tries)
    assert StudyStore(study, config).repeated_tries == []
    started = run(config, study)
    assert set(started[:2]) == {(8, 1), (8, 2)}
    assert started[2][0] != 8, "the third has no settings left; the sampler draws"


@pytest.mark.parametrize("layers", [1, 2])
def test_what_is_drawn_for_an_entry_is_not_taken_from_a_later_one(
    tmp_path: Path, study: optuna.Study, layers: int
) -> None:
    tries = f"try: [{{model.units: 8}}, {{model.units: 8, model.layers: {layers}}}]\n"
    assert run(load(tmp_path, 2, tries), study) == [(8, 3 - layers), (8, layers)]


def test_an_entry_that_equals_a_trial_in_effect_is_not_run(tmp_path: Path, study: optuna.Study) -> None:
    """Without clipping, the threshold of the second entry does not count."""
    file = tmp_path / "sweep.yaml"
    for n_trials in (1, 2):
        file.write_text(
            f"study: s\nsampler: {{name: random}}\nbudget: {{trials: {n_trials}}}\n"
            "space:\n  clip.kind: {choice: [none, norm]}\n  clip.threshold: {float: [1, 5]}\n"
            "try: [{clip.kind: none}, {clip.kind: none, clip.threshold: 2.0}]\n"
        )
        opened = StudyStore(study, load_sweep(file), seconds=seconds)
        request = opened.ask()
        assert request is not None
        opened.tell(request.number, State.COMPLETE, 0.5, {})
    assert [trial.params["clip.kind"] for trial in study.trials] == ["none", "norm"]


def test_an_entry_whose_setting_does_not_fit_the_base_has_a_duration(tmp_path: Path, study: optuna.Study) -> None:
    """The weight decay of the entry is allowed only with the optimizer that is drawn."""
    file = tmp_path / "sweep.yaml"
    file.write_text(
        "study: s\nsampler: {name: random}\nbudget: {trials: 2}\n"
        "space:\n  train.optimizer: {choice: [adam, adamw]}\n"
        "  train.weight_decay: {choice: [0.1, 0.2], when: {train.optimizer: adamw}}\n"
        "try: [{train.weight_decay: 0.1}]\n"
    )
    opened = StudyStore(study, load_sweep(file), seconds=seconds)
    drawn = [request.settings for request in iter(opened.ask, None)]
    assert len(drawn) == 3
    assert drawn[0].get("train.weight_decay", 0.1) == 0.1


@pytest.mark.parametrize("lost", [0, 2, 3])
def test_the_settings_of_a_lost_trial_are_found_again(tmp_path: Path, study: optuna.Study, lost: int) -> None:
    config = load(tmp_path, 4, sampler="{name: grid}")
    run(config, study)
    settings = [trial.params for trial in study.trials]
    missing = settings.pop(lost)
    source = SettingsSource(study, config, settings, seconds)
    assert source.next_planned(len(settings)) == missing
    assert source.next_planned(len(settings) + 1) is None
