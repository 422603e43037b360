"""The study that `rnnexp train` makes of one configuration."""

from pathlib import Path

import pytest

from rnnexp.commands.train import study_of
from rnnexp.config.load import load_sweep
from rnnexp.config.trial import TrialConfig

TRIAL = TrialConfig()


def test_it_has_one_trial_and_searches_nothing() -> None:
    study = study_of(TRIAL, "digest")
    assert (study.n_trials, study.space, study.tries, study.pruner.name) == (1, {}, (), "none")
    assert study.base == TRIAL
    assert study.limits.retries > 0


@pytest.mark.parametrize(("monitor", "direction"), [("val_accuracy", "maximize"), ("val_loss", "minimize")])
def test_its_objective_is_the_monitor(monitor: str, direction: str) -> None:
    study = study_of(TRIAL.with_settings({"train.monitor": monitor}), "digest")
    assert (study.objective.metric, study.objective.direction) == (monitor, direction)


def test_its_name_identifies_the_configuration_and_the_data() -> None:
    name = study_of(TRIAL, "digest").study
    assert name == study_of(TRIAL.with_settings({"model.units": 64}), "digest").study
    assert name != study_of(TRIAL.with_settings({"train.seed": 1}), "digest").study
    assert name != study_of(TRIAL, "other").study


def test_a_data_file_may_move() -> None:
    names = {
        study_of(TRIAL.with_settings({"data.path": path, "data.name": "mine"}), "digest").study
        for path in ("/a/mine.csv", "/b/mine.csv")
    }
    assert len(names) == 1


def test_its_sweep_file_can_be_loaded(tmp_path: Path) -> None:
    study = study_of(TRIAL.with_settings({"train.monitor": "val_loss"}), "digest")
    (tmp_path / "sweep.yaml").write_text(study.to_yaml())
    assert load_sweep(tmp_path / "sweep.yaml") == study
