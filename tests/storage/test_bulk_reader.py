"""The bulk reader returns the same trials as Optuna."""

import math
from pathlib import Path

import optuna
from optuna.trial import TrialState

from rnnexp.home import Home
from rnnexp.storage import bulk_reader
from rnnexp.storage.database import open_storage


def _create_study(home: Home, name: str) -> optuna.Study:
    """Creates a study with one trial for each state and each kind of stored value."""
    study = optuna.create_study(storage=open_storage(home), study_name=name, direction="maximize")
    for end in ("complete", "pruned", "fail", "infinite", "running"):
        trial = study.ask()
        trial.suggest_categorical("kind", [None, "a", True, 2])
        trial.suggest_int("units", 8, 64, log=True)
        trial.suggest_int("step", 10, 20, step=5)
        if end != "fail":
            trial.suggest_float("rate", 1e-3, 1.0, log=True)
        trial.set_user_attr("rnnexp:summary", {"reason": "ü", "metrics": {"loss": 0.1}})
        for step, value in enumerate((0.1, math.inf, -math.inf, math.nan, 0.25), start=1):
            trial.report(value, step)
        if end == "pruned":
            study.tell(trial, state=TrialState.PRUNED)
        elif end == "fail":
            study.tell(trial, state=TrialState.FAIL)
        elif end != "running":
            study.tell(trial, 0.75 if end == "complete" else math.inf)
    study.enqueue_trial({"kind": "a", "units": 16})
    return study


def test_the_bulk_reader_returns_the_same_trials_as_optuna(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    for name in ("one", "other"):
        expected = _create_study(home, name).get_trials()
        found = bulk_reader.read(home, name)
        assert [trial.state for trial in found] == [trial.state for trial in expected]
        assert list(map(repr, found)) == list(map(repr, expected))  # compared as text, because NaN is unequal to itself


def test_a_missing_study_has_no_trials(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    open_storage(home)
    assert bulk_reader.read(home, "none") == []
