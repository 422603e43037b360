"""Only damaged content is damage: a full disk, missing descriptors or a lock say nothing about a database."""

import errno
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from rnnexp.health import checks, sqlite_files
from rnnexp.home import Home
from rnnexp.storage import database
from tests.health.limits import no_descriptors, no_writes
from tests.study.fakes import FakeExecutor
from tests.study.small_study import Study


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA locking_mode=EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        yield


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A home with a study whose trials were fakes."""
    study = Study(tmp_path)
    study.run(FakeExecutor())
    for trial in study.home.study("s").trials.iterdir():
        (trial / "checkpoints" / "best.keras").unlink()
    # A sweep of earlier versions left no sweep file; this one has it, so the database is expected.
    study.home.study("s").sweep.write_text(study.file.read_text())
    close_database(study.home)
    yield study.home
    database.open_storage.cache_clear()


def close_database(home: Home) -> None:
    """Closes all connections, so that everything is in the file of the database."""
    storage = database.open_storage(home)
    storage.remove_session()
    storage.engine.dispose()
    database.open_storage.cache_clear()
    assert not home.optuna_db.with_name("optuna.db-wal").exists()


LIMITS: list[Callable[[Path], AbstractContextManager[None]]] = [
    lambda path: no_descriptors(),
    lambda path: no_writes(),
    _locked,
]


@pytest.mark.parametrize("limit", LIMITS, ids=["no descriptors", "no writes", "locked"])
def test_an_intact_database_that_cannot_be_read_now_is_kept(
    home: Home, limit: Callable[[Path], AbstractContextManager[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_files, "_TIMEOUT_S", 0.1)
    before = home.optuna_db.read_bytes()
    with limit(home.optuna_db):
        found = list(checks.find_problems(home))
        outcomes = list(checks.repair(home))
    assert "optuna.db" in [finding.where for finding in found if finding.check == "databases"]
    assert all(finding.fix is None and "could not be c" in finding.what for finding in found)
    assert [outcome.done for outcome in outcomes] == [None] * len(found)
    assert home.optuna_db.read_bytes() == before
    assert not list(home.root.glob("*.damaged-*"))
    assert sqlite_files.damage(home.optuna_db, True) is None


@pytest.mark.parametrize("content", [b"no database" * 500, None])
def test_damaged_content_is_damage(home: Home, content: bytes | None) -> None:
    path = home.optuna_db
    if content is None:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        content = bytearray(path.read_bytes())
        content[4096 : 4096 * 12] = b"\xa5" * (4096 * 11)
    path.write_bytes(content)
    assert str(sqlite_files.damage(path, True)).startswith("it is damaged")


def test_an_error_without_a_code_of_damage_is_raised(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk error, which no test can cause for real."""

    def broken_disk(*_: object, **__: object) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
        raise error

    monkeypatch.setattr(sqlite_files.sqlite3, "connect", broken_disk)
    with pytest.raises(sqlite3.OperationalError):
        sqlite_files.damage(home.optuna_db, True)


def test_a_file_that_cannot_be_opened_is_no_damaged_archive(tmp_path: Path) -> None:
    from rnnexp import disk

    (tmp_path / "a.npz").write_bytes(b"")
    with no_descriptors(), pytest.raises(OSError) as raised:
        disk.zip_fault(tmp_path / "a.npz")
    assert raised.value.errno == errno.EMFILE
