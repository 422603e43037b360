"""The write-ahead log, and when changes are flushed to the disk."""

import contextlib
import sqlite3
from pathlib import Path

import optuna
import pytest
import sqlalchemy

from rnnexp import mounts
from rnnexp.config.load import load_sweep
from rnnexp.home import Home
from rnnexp.storage import sqlite
from rnnexp.storage.database import open_storage
from rnnexp.storage.store import StudyStore
from rnnexp.trial.states import State
from tests.study.small_study import SWEEP

_FULL, _NORMAL = 2, 1


def _synchronous(url: str) -> int:
    """Returns the setting `synchronous` of a new connection."""
    with sqlalchemy.create_engine(url).connect() as connection:
        return int(connection.execute(sqlalchemy.text("PRAGMA synchronous")).scalar_one())


def _journal(path: Path) -> str:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("PRAGMA journal_mode").fetchone()[0])


def test_only_a_database_with_a_write_ahead_log_commits_without_waiting(tmp_path: Path) -> None:
    with_wal, other = tmp_path / "wal.db", tmp_path / "other.db"
    sqlite3.connect(other).execute("CREATE TABLE t (x)").connection.close()
    sqlite.set_up(with_wal)
    sqlite.set_up(other)
    assert _synchronous(f"sqlite:///{with_wal}") == _NORMAL
    assert _synchronous(f"sqlite:///{other}") == _FULL


def test_the_databases_of_others_in_this_process_keep_their_setting(tmp_path: Path) -> None:
    """Such as MLflow's default store, which it opens beside the home's, or the database of a caller of this package."""
    ours, others = tmp_path / "ours.db", tmp_path / "others.db"
    sqlite.set_up(ours)
    sqlite.set_journal(others)
    assert _journal(others) == "wal"
    assert _synchronous(f"sqlite:///{others}") == _FULL
    assert _synchronous("sqlite://") == _FULL
    assert _synchronous(f"sqlite:///{ours}") == _NORMAL
    (tmp_path / "link.db").symlink_to(ours)
    assert _synchronous(f"sqlite:///{tmp_path / 'link.db'}") == _NORMAL


def test_a_network_file_system_gets_no_write_ahead_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "mounts"
    table.write_text(f"/dev/vda / ext4 rw 0 0\nserver:/x {tmp_path / 'far'} nfs4 rw 0 0\n")
    monkeypatch.setattr(mounts, "_TABLE", table)
    near, far = Home.open(tmp_path / "near"), Home.open(tmp_path / "far")
    for home in (near, far):
        open_storage(home)
        optuna.create_study(study_name="s", storage=open_storage(home))
    assert (_journal(near.optuna_db), _journal(far.optuna_db)) == ("wal", "delete")
    assert _synchronous(far.optuna_url) == _FULL, "without the log, a commit must wait for the disk"
    assert not list(far.root.glob("*-wal"))


def test_a_database_that_was_moved_to_a_network_loses_its_write_ahead_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "far" / "x.db"
    path.parent.mkdir()
    sqlite.set_journal(path)
    sqlite3.connect(path).execute("CREATE TABLE t (x)").connection.close()
    assert _journal(path) == "wal"
    table = tmp_path / "mounts"
    table.write_text(f"/dev/vda / ext4 rw 0 0\nserver:/x {tmp_path / 'far'} nfs4 rw 0 0\n")
    monkeypatch.setattr(mounts, "_TABLE", table)
    (path.parent / "damaged.db").write_bytes(b"no database" * 100)
    sqlite.set_up(path.parent / "damaged.db")
    sqlite.set_up(path)
    assert _journal(path) == "delete"
    sqlite.set_up(path)
    assert _synchronous(f"sqlite:///{path}") == _FULL


def test_macos_gets_its_own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite.sys, "platform", "darwin")
    path = tmp_path / "x.db"
    sqlite.set_up(path)
    with sqlalchemy.create_engine(f"sqlite:///{path}").connect() as connection:
        assert connection.execute(sqlalchemy.text("PRAGMA checkpoint_fullfsync")).scalar_one() == 1


def test_optuna_commits_without_waiting(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    open_storage(home)
    assert _synchronous(home.optuna_url) == _NORMAL


def test_reading_a_damaged_database_raises_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"no database" * 100)
    sqlite.set_up(tmp_path / "x.db")
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
