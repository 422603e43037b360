"""`rnnexp studies` and `rnnexp trials` show what Optuna's own API tells, and change nothing."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import optuna
import pytest

from rnnexp.cli import main
from rnnexp.home import Home
from rnnexp.storage import metadata
from rnnexp.storage.database import open_storage
from tests.storage.optuna_studies import create_study

_LISTS = (["studies"], ["trials", "one"], ["trials", "one", "--all"])


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home.open(tmp_path / "home")
    for name in ("one", "two"):
        create_study(home, name)
    open_storage(home).engine.dispose()
    return home


def _output(capsys: pytest.CaptureFixture[str], home: Home, *arguments: str) -> str:
    assert main([*arguments, "--home", str(home.root)]) == 0
    return capsys.readouterr().out


def test_trials_are_those_of_optuna(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    study = optuna.load_study(study_name="one", storage=open_storage(home))
    expected: list[dict[str, Any]] = []
    for trial in study.get_trials():
        summary = trial.user_attrs.get(metadata.SUMMARY, {})
        is_finished = trial.state.is_finished()
        shown = {"number": trial.number, "state": trial.state.name, "value": trial.value, "best_epoch": None}
        shown |= {"settings": trial.params, "metrics": summary.get("metrics", {}), "duration_s": 0.0, "attempts": 0}
        expected.append({**shown, "run_id": None, "reason": summary.get("reason") if is_finished else None})
    assert json.loads(_output(capsys, home, "trials", "one", "--json")) == expected
    lines = _output(capsys, home, "trials", "one").splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [[str(row["number"]), row["state"]] for row in expected]
    assert "val_loss" in lines[0], "the objective's metric is in the database"


def test_studies_are_those_of_optuna(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    shown = json.loads(_output(capsys, home, "studies", "--json"))
    assert [study["study"] for study in shown] == optuna.get_all_study_names(open_storage(home))
    for study in shown:
        stored = optuna.load_study(study_name=study["study"], storage=open_storage(home))
        states = [trial.state.name for trial in stored.get_trials()]
        assert study["states"] == {state: states.count(state) for state in study["states"]}
        assert (study["direction"], study["metric"], study["n_trials"]) == ("maximize", "val_loss", 6)
        assert (study["best_trial"], study["best_value"]) == (stored.best_trial.number, stored.best_value)
    text = _output(capsys, home, "studies")
    assert [line.split()[0] for line in text.splitlines()[1:]] == ["one", "two"]


def test_a_list_changes_nothing(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    def files() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in home.root.rglob("*") if path.is_file()}

    (home.root / ".stores.lock").unlink()
    before = files()
    for arguments in _LISTS:
        _output(capsys, home, *arguments)
        _output(capsys, home, *arguments, "--json")
    assert files() == before


def test_lists_of_a_home_that_does_not_exist(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = Home.at(tmp_path / "none")
    assert "no study in" in _output(capsys, home, "studies")
    assert main(["trials", "one", "--home", str(home.root)]) == 2
    assert "the home has no studies" in capsys.readouterr().err
    assert not home.root.exists()


def test_tables_of_another_version_are_one_line(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    with sqlite3.connect(home.optuna_db) as connection:
        connection.execute("ALTER TABLE trial_values DROP COLUMN value_type")
    connection.close()
    for arguments in _LISTS:
        assert main([*arguments, "--home", str(home.root)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert str(home.optuna_db) in line
        assert "`rnnexp doctor`" in line


def test_a_damaged_database_is_one_line(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    home.optuna_db.write_bytes(b"not a database" * 100)
    assert main(["studies", "--home", str(home.root)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "it is damaged" in line
    assert "doctor --repair" in line
