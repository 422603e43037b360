"""A resumed study draws what an uninterrupted one draws: TPE too, if its trials run one at a time."""

import signal
from pathlib import Path
from typing import Any

import pytest

from rnnexp.config.sweep import TpeSampler
from rnnexp.storage import sampling
from rnnexp.trial.job import TrialJob
from tests.study.fakes import FakeExecutor
from tests.study.small_study import Study

pytestmark = pytest.mark.integration  # each test runs two studies

SWEEP = """
study: s
sampler: {name: tpe, seed: 3, n_startup_trials: 4}
pruner: {name: none}
budget: {trials: 16}
base: {data: {name: reviews}, train: {epochs: 3}}
space:
  model.units: {int: [8, 64]}
  model.dropout: {float: [0.0, 0.5]}
  clip.kind: {choice: [none, norm]}
  clip.threshold: {float: [0.1, 10], log: true, when: {clip.kind: [norm]}}
"""


def accuracy(job: TrialJob, epoch: int) -> float:
    """Returns an accuracy that depends on the settings, so that TPE has something to learn."""
    return 0.6 + 0.02 * epoch + job.config.model.units / 400 - job.config.model.dropout / 5


def executor(n_slots: int = 1) -> FakeExecutor:
    return FakeExecutor(n_slots=n_slots, accuracy=accuracy)


@pytest.fixture
def uninterrupted(tmp_path: Path) -> list[dict[str, Any]]:
    study = new_study(tmp_path / "uninterrupted")
    study.run(executor())
    return settings(study)


def new_study(root: Path) -> Study:
    root.mkdir()
    study = Study(root)
    study.file.write_text(SWEEP)
    return study


def settings(study: Study) -> list[dict[str, Any]]:
    return [row.settings for row in study.view.trials]


def test_a_resumed_study_draws_the_same_settings(tmp_path: Path, uninterrupted: list[dict[str, Any]]) -> None:
    study = new_study(tmp_path / "resumed")
    study.run(executor(), budget__trials=7)
    study.run(executor(), budget__trials=12)
    study.run(executor())
    assert settings(study) == uninterrupted


def test_a_study_that_is_interrupted_in_a_trial_draws_the_same_settings(
    tmp_path: Path, uninterrupted: list[dict[str, Any]]
) -> None:
    study = new_study(tmp_path / "interrupted")
    outcome = study.run(executor(), signals={(9, 2): signal.SIGINT})
    assert outcome.signal == signal.SIGINT
    assert len(settings(study)) == 10
    study.run(executor())
    assert settings(study) == uninterrupted


def test_tpe_learns_in_these_tests(tmp_path: Path, uninterrupted: list[dict[str, Any]]) -> None:
    """With other results the estimator draws other settings, so the tests above compare more than random draws."""
    study = new_study(tmp_path / "other")
    study.run(FakeExecutor(n_slots=1, accuracy=lambda job, epoch: 1.0 - accuracy(job, epoch)))
    assert settings(study)[:4] == uninterrupted[:4]
    assert settings(study)[4:] != uninterrupted[4:]


def test_a_running_trial_counts_as_a_bad_one() -> None:
    """Stated in the code, so that another default of Optuna changes nothing."""
    assert sampling.sampler(TpeSampler(name="tpe"), 0)._constant_liar
