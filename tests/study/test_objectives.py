"""Studies with several objectives and constraints: run, interrupted, resumed, rebuilt, stopped by hand."""

import signal
from pathlib import Path
from typing import Any

import optuna
import pytest

from rnnexp.cli import main
from rnnexp.health import files, history, trials
from rnnexp.health.studies import Observation
from rnnexp.storage import database
from rnnexp.storage.database import load_study
from rnnexp.storage.rebuild import rebuild
from rnnexp.trial.states import State
from tests.study.fakes import FakeExecutor
from tests.study.small_study import Study

SWEEP = """
study: s
objective: [{metric: val_accuracy}, {metric: n_params}]
constraints: {n_params: {max: 50}}
sampler: {name: tpe, seed: 3, n_startup_trials: 4}
budget: {trials: 14}
base: {data: {name: reviews}, train: {epochs: 2}}
space:
  model.units: {int: [8, 64]}
  model.dropout: {float: [0, 0.5]}
"""


@pytest.fixture
def study(tmp_path: Path) -> Study:
    found = Study(tmp_path)
    found.file.write_text(SWEEP)
    found.home.study("s").root.mkdir(parents=True)
    found.home.study("s").sweep.write_text(found.config().to_yaml())
    return found


def executor() -> FakeExecutor:
    """A larger network is better, dropout is not."""

    def accuracy(job: Any, epoch: int) -> float:
        return 0.5 + 0.004 * job.config.model.units + 0.01 * epoch - 0.3 * job.config.model.dropout

    found = FakeExecutor(n_slots=1, accuracy=accuracy)
    found.n_params = lambda job: job.config.model.units
    return found


def test_the_front_is_what_no_trial_beats(study: Study) -> None:
    study.run(executor())
    view = study.view
    assert view.n_finished == 14
    assert all(row.costs["n_params"] == row.settings["model.units"] for row in view.trials)
    inside = [row for row in view.trials if row.costs["n_params"] <= 50]
    assert 0 < len(inside) < 14
    unbeaten = [
        row.number
        for row in inside
        if not any(
            other.value > row.value and other.costs["n_params"] <= row.costs["n_params"]  # type: ignore[operator]
            for other in inside
        )
    ]
    assert sorted(row.number for row in view.front) == unbeaten
    assert view.best is view.front[0]
    assert {view.place(row) for row in view.trials if row not in inside} == {"outside"}
    assert view.best_in("n_params").costs["n_params"] == min(row.costs["n_params"] for row in inside)


def test_optuna_has_all_values_and_violations(study: Study) -> None:
    study.run(executor())
    stored = load_study(study.home, "s")
    assert stored.directions == [optuna.study.StudyDirection.MAXIMIZE, optuna.study.StudyDirection.MINIMIZE]
    for row, trial in zip(study.view.trials, stored.trials, strict=True):
        assert trial.values == [row.value, row.costs["n_params"]]
        assert (trial.constraints["n_params"] > 0) == (row.costs["n_params"] > 50)
    best = {trial.number for trial in stored.best_trials}
    assert best == {row.number for row in study.view.front}, "Optuna's front is ours"


def test_an_interrupted_study_resumes_to_the_same_trials(study: Study, tmp_path: Path) -> None:
    assert study.run(executor(), signals={(7, 1): signal.SIGINT}).signal is not None
    assert study.view.n_finished < 14
    study.run(executor())
    other = Study(tmp_path / "other")
    other.file.write_text(SWEEP)
    other.run(executor())
    assert [(row.settings, row.value) for row in study.view.trials] == [
        (row.settings, row.value) for row in other.view.trials
    ]


def test_a_trial_that_is_stopped_by_hand_keeps_its_values(study: Study) -> None:
    fake = executor()
    original = fake.answer

    def answer(number: int, given: Any) -> None:
        if number == 6:
            fake.request_stop(6)
            original(number, type(given).END)
        else:
            original(number, given)

    fake.answer = answer  # type: ignore[method-assign]
    study.run(fake)
    row = study.view.trials[6]
    assert (row.state, row.reason) == (State.PRUNED, "stopped by hand")
    assert row.value is not None
    assert load_study(study.home, "s").trials[6].values == [row.value, row.costs["n_params"]]
    assert study.view.n_finished == 14, "the sampler can draw after it"


def test_a_rebuilt_database_has_the_same_values(study: Study) -> None:
    study.run(executor())
    before, stored = study.view, load_study(study.home, "s").trials
    database.open_storage.cache_clear()
    for path in study.home.root.glob("optuna.db*"):
        path.unlink()
    assert rebuild(study.home, "s", None) == 14
    assert study.view.trials == before.trials
    again = load_study(study.home, "s").trials
    assert [(trial.values, trial.constraints) for trial in again] == [
        (trial.values, trial.constraints) for trial in stored
    ]


def test_the_doctor_finds_no_fault(study: Study) -> None:
    study.run(executor())
    assert [history.missing(snapshot) for snapshot in Observation(study.home).trials("s")] == [""] * 14
    assert list(trials.check(Observation(study.home))) == []
    assert list(files.check(Observation(study.home))) == []


def test_the_models_of_the_front_are_kept(study: Study) -> None:
    study.run(executor())
    view = study.view
    kept = {row.number for row in view.trials if view.folder.trial(row.number).best.exists()}
    best = {row.number for row in view.ranked[:5]}
    assert best | {view.best_in("n_params").number} <= kept <= best | {13, view.best_in("n_params").number}


def test_export_prefers_only_an_objective(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    study.run(executor())
    command = ["export", "s", "--to", str(study.home.root / "best"), "--home", str(study.home.root)]
    assert main([*command, "--prefer", "size"]) == 2
    error = capsys.readouterr().err
    assert error == "export --prefer: got 'size', expected an objective of study s: val_accuracy, n_params\n"
    assert not (study.home.root / "best").exists()
