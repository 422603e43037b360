"""What is committed waits for the disk only where something rests on it."""

import sqlite3
from pathlib import Path

import optuna
import pytest
import sqlalchemy

from rnnexp.config.load import load_sweep
from rnnexp.home import Home
from rnnexp.storage import sqlite
from rnnexp.storage.database import open_storage
from rnnexp.storage.store import StudyStore
from rnnexp.trial.states import State
from tests.study.test_supervisor import SWEEP

_FULL, _NORMAL = 2, 1


def _carefulness(url: str) -> int:
    with sqlalchemy.create_engine(url).connect() as connection:
        return int(connection.execute(sqlalchemy.text("PRAGMA synchronous")).scalar_one())


def test_only_a_database_that_is_written_ahead_commits_without_waiting(tmp_path: Path) -> None:
    ahead, other = tmp_path / "ahead.db", tmp_path / "other.db"
    sqlite.use_wal(ahead)
    sqlite3.connect(other).execute("CREATE TABLE t (x)").connection.close()
    sqlite.commit_without_waiting()
    assert _carefulness(f"sqlite:///{ahead}") == _NORMAL
    assert _carefulness(f"sqlite:///{other}") == _FULL


def test_optuna_commits_without_waiting(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    open_storage(home)
    assert _carefulness(home.optuna_url) == _NORMAL


def test_a_damaged_database_is_told_by_who_reads_it(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"no database" * 100)
    sqlite.commit_without_waiting()
    with pytest.raises(sqlalchemy.exc.DatabaseError):
        _carefulness(f"sqlite:///{tmp_path / 'x.db'}")


def test_a_trial_is_on_the_disk_before_it_begins_and_what_became_of_it_at_once(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(SWEEP)
    config = load_sweep(file, {})
    study = optuna.create_study(direction="maximize", storage=optuna.storages.RDBStorage("sqlite://"))
    states: list[list[str]] = []
    store = StudyStore(study, config, lambda: states.append([trial.state.name for trial in study.trials]))
    asked = store.ask()
    assert asked is not None and states == [["RUNNING"]]
    store.requeue(asked.number, crashed=False)
    assert states[1:] == [["WAITING"]]
    again = store.ask()
    assert again is not None and again.number == asked.number
    store.report(again.number, 1, 0.5)
    store.tell(again.number, State.COMPLETE, 0.5, {})
    assert states[2:] == [["RUNNING"], ["COMPLETE"]]


def test_syncing_what_has_no_log_does_nothing(tmp_path: Path) -> None:
    sqlite.sync(tmp_path / "none.db")
