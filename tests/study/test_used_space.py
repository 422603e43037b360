"""A study ends when every point of its search space has a trial."""

import signal
from pathlib import Path

import pytest

from rnnexp.config.sweep import SweepConfig
from rnnexp.storage import database
from rnnexp.storage.rebuild import rebuild
from rnnexp.trial.states import State
from tests.study.fakes import FakeExecutor
from tests.study.small_study import Study

pytestmark = pytest.mark.integration  # each test runs studies

SWEEP = """
study: s
sampler: {name: SAMPLER}
budget: {trials: 20}
base: {data: {name: reviews}, train: {epochs: 2}}
space:
  model.units: {choice: [8, 16]}
  clip.kind: {choice: [none, norm]}
  clip.threshold: {choice: [1.0, 5.0], when: {clip.kind: [norm]}}
"""


@pytest.fixture(params=["random", "tpe", "grid"])
def study(tmp_path: Path, request: pytest.FixtureRequest) -> Study:
    study = Study(tmp_path)
    study.file.write_text(SWEEP.replace("SAMPLER", request.param))
    return study


def n_different(study: Study) -> int:
    return len({tuple(sorted(row.settings.items())) for row in study.view.trials})


def is_grid(config: SweepConfig) -> bool:
    return config.sampler.name == "grid"


def test_the_study_ends_when_the_search_space_is_used_up(study: Study) -> None:
    outcome = study.run(FakeExecutor())
    assert study.states() == [State.COMPLETE] * 6
    assert n_different(study) == 6
    assert outcome.space_is_used is not is_grid(study.config()), "a grid's number of trials is known before"
    assert (outcome.signal, outcome.out_of_time, outcome.halt_reason) == (None, False, "")
    again = FakeExecutor()
    study.run(again)
    assert again.submitted == []


def test_a_trial_that_crashes_after_the_last_draw_is_started_again(study: Study) -> None:
    executor = FakeExecutor(n_slots=3)
    executor.n_crashes = {4: [1, 1], 5: [1]}
    study.run(executor)
    assert study.states() == [State.COMPLETE] * 6
    assert study.view.trials[4].attempts == 3


def test_a_failed_trial_is_not_drawn_again(study: Study) -> None:
    executor = FakeExecutor()
    executor.bugs = {1, 4}
    study.run(executor)
    assert [row.number for row in study.view.trials if row.state is State.FAIL] == [1, 4]
    assert n_different(study) == len(study.states()) == 6


def test_an_interrupted_study_uses_up_the_space_without_a_repetition(study: Study) -> None:
    for epoch in (1, 2):
        study.run(FakeExecutor(), signals={(epoch, epoch): signal.SIGINT})
    study.run(FakeExecutor(), budget__trials=5)
    assert study.states() == [State.COMPLETE] * 5
    study.run(FakeExecutor())
    assert study.states() == [State.COMPLETE] * 6
    assert n_different(study) == 6


def test_a_wider_space_continues_the_study(study: Study) -> None:
    study.run(FakeExecutor())
    study.file.write_text(study.file.read_text().replace("[8, 16]", "[8, 16, 32]"))
    study.run(FakeExecutor())
    assert [row.settings["model.units"] for row in study.view.trials[6:]] == [32] * 3
    assert n_different(study) == 9


def test_a_rebuilt_study_repeats_nothing(study: Study) -> None:
    study.run(FakeExecutor(n_slots=1), budget__trials=4)
    home = study.home
    home.study("s").sweep.write_text(study.config().to_yaml())
    before = [row.settings for row in study.view.trials]
    database.open_storage.cache_clear()
    for path in home.root.glob("optuna.db*"):
        path.unlink()
    home.study("s").trial(2).config.unlink()
    home.study("s").trial(2).events.unlink()
    assert rebuild(home, "s", None) == 4
    study.run(FakeExecutor(n_slots=1))
    database.open_storage.cache_clear()
    after = [row.settings for row in study.view.trials]
    assert n_different(study) == len(after) == 6
    if study.config().sampler.name != "tpe":
        assert after[:4] == before
