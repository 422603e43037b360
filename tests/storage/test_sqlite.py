"""The write-ahead log, and when changes are flushed to the disk."""

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


def _synchronous(url: str) -> int:
    """Returns the setting `synchronous` of a new connection."""
    with sqlalchemy.create_engine(url).connect() as connection:
        return int(connection.execute(sqlalchemy.text("PRAGMA synchronous")).scalar_one())


def test_only_a_database_with_a_write_ahead_log_commits_without_waiting(tmp_path: Path) -> None:
    with_wal, other = tmp_path / "wal.db", tmp_path / "other.db"
    sqlite.use_wal(with_wal)
    sqlite3.connect(other).execute("CREATE TABLE t (x)").connection.close()
    sqlite.commit_without_waiting()
    assert _synchronous(f"sqlite:///{with_wal}") == _NORMAL
    assert _synchronous(f"sqlite:///{other}") == _FULL


def test_optuna_commits_without_waiting(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    open_storage(home)
    assert _synchronous(home.optuna_url) == _NORMAL


def test_reading_a_damaged_database_raises_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"no database" * 100)
    sqlite.commit_without_waiting()
    with pytest.raises(sqlalchemy.exc.DatabaseError):
        _synchronous(f"sqlite:///{tmp_path / 'x.db'}")


def test_a_trial_is_flushed_before_it_starts_and_when_its_state_changes(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(SWEEP)
    config = load_sweep(file, {})
    study = optuna.create_study(direction="maximize", storage=optuna.storages.RDBStorage("sqlite://"))
    states: list[list[str]] = []
    store = StudyStore(study, config, lambda: states.append([trial.state.name for trial in study.trials]))
    first = store.ask()
    assert first is not None and states == [["RUNNING"]]
    store.requeue(first.number, crashed=False)
    assert states[1:] == [["WAITING"]]
    second = store.ask()
    assert second is not None and second.number == first.number
    store.report(second.number, 1, 0.5)
    store.tell(second.number, State.COMPLETE, 0.5, {})
    assert states[2:] == [["RUNNING"], ["COMPLETE"]]


def test_sync_without_a_log_file_does_nothing(tmp_path: Path) -> None:
    sqlite.sync(tmp_path / "none.db")
