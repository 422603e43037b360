"""Studies in PostgreSQL: reading, locks that other machines see, and every fault in one line."""

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from rnnexp.errors import StorageError, StorageLostError, StudyError
from rnnexp.home import Home
from rnnexp.storage import bulk_reader, postgres
from rnnexp.storage.database import create_or_load_study, open_storage
from rnnexp.storage.store import StudyStore
from rnnexp.storage.study_lock import hold_study_lock, lock_owner
from rnnexp.storage.views import view, views
from rnnexp.trial.states import State
from tests.postgres_server import PASSWORD, PostgresServer
from tests.storage.lock_processes import holder
from tests.storage.optuna_studies import create_study
from tests.storage.test_bulk_reader import assert_equal
from tests.study.fakes import FakeExecutor
from tests.study.small_study import Study


@pytest.fixture
def home(on_postgres: str, tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


def test_studies_and_trials_are_read_as_optuna_reads_them(home: Home) -> None:
    assert bulk_reader.study_names(home) == [], "an empty database has no studies"
    for name in ("one", "other"):
        study = create_study(home, name)
        assert_equal(home, study)
        found = bulk_reader.load_study(home, name)
        assert found.user_attrs == study.user_attrs
        assert found.direction == "maximize"
    assert bulk_reader.study_names(home) == ["one", "other"]
    assert not home.optuna_db.exists()


def test_a_study_runs_and_resumes(on_postgres: str, tmp_path: Path) -> None:
    study = Study(tmp_path)
    study.run(FakeExecutor(), signals={(1, 2): 15})
    assert State.WAITING in study.states()
    study.run(FakeExecutor())
    assert study.states() == [State.COMPLETE] * 4
    assert not study.home.optuna_db.exists()


def test_other_machines_see_the_study_but_cannot_run_it(on_postgres: str, tmp_path: Path) -> None:
    study = Study(tmp_path)
    study.run(FakeExecutor())
    elsewhere = Home.open(tmp_path / "elsewhere")
    (seen,) = views(elsewhere)
    assert [row.value for row in seen.trials] == [row.value for row in study.view.trials]
    with pytest.raises(StudyError, match=f"its trials are in home {study.home.root} on {socket.gethostname()}"):
        StudyStore.open(elsewhere, study.config(), "digest")
    assert bulk_reader.own_study_names(elsewhere) == []
    assert bulk_reader.own_study_names(study.home) == ["s"]


def test_a_study_of_another_program_is_only_read(on_postgres: str, tmp_path: Path) -> None:
    study = Study(tmp_path)
    create_study(study.home, "s")
    assert bulk_reader.own_study_names(study.home) == []
    assert len(study.view.trials) == 6
    with pytest.raises(StudyError, match="its trials are in no home: another program has created it"):
        study.run(FakeExecutor())


def test_two_machines_cannot_run_one_study(home: Home, tmp_path: Path) -> None:
    with holder(Home.at(tmp_path / "elsewhere"), "s") as process:
        owner = lock_owner(home, "s")
        assert owner is not None
        assert (owner.pid, owner.host) == (process.pid, socket.gethostname())
        assert abs(owner.since - time.time()) < 60
        with pytest.raises(StudyError, match=f"by process {process.pid} on"), hold_study_lock(home, "s"):
            pass
        with hold_study_lock(home, "other"):
            pass
        process.kill()
        process.wait()
        _wait_until_free(home)
    with hold_study_lock(home, "s"):
        assert lock_owner(Home.at(tmp_path / "elsewhere"), "s") is not None
    assert lock_owner(home, "s") is None


def _wait_until_free(home: Home) -> None:
    deadline = time.monotonic() + 30
    while lock_owner(home, "s") is not None:
        assert time.monotonic() < deadline, "the lock of a dead process is still held"
        time.sleep(0.05)


def test_a_lock_is_lost_with_its_connection_and_can_be_taken_again(home: Home, postgres_server: PostgresServer) -> None:
    with hold_study_lock(home, "s") as lock:
        lock.check()
        postgres_server.restart()
        with pytest.raises(StorageLostError, match="the lock of the study is lost"):
            lock.check()
        lock.acquire()
        lock.check()
        assert lock_owner(home, "s") is not None


def test_the_lock_of_the_own_broken_connection_is_waited_for(home: Home) -> None:
    """The network was cut: the server does not know yet that the connection has ended."""
    with hold_study_lock(home, "s") as lock:
        stale = lock._shared
        assert stale is not None
        lock._shared = postgres.AdvisoryLock(home.storage_url, "s")
        with pytest.raises(StorageLostError, match="still has the lock of the broken connection"):
            lock.acquire()
        stale.release()
        lock.acquire()
        lock.check()


def test_a_lock_that_another_machine_took_meanwhile_is_refused(
    home: Home, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    with hold_study_lock(home, "s") as lock:
        postgres_server.restart()
        with (
            holder(Home.at(tmp_path / "elsewhere"), "s") as process,
            pytest.raises(StudyError, match=f"by process {process.pid}"),
        ):
            lock.acquire()


def test_a_lost_database_is_told_apart_from_other_errors(
    home: Home, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    study = create_or_load_study(open_storage(home), Study(tmp_path).config())
    trial = study.ask()
    postgres_server.stop()
    try:
        with pytest.raises(Exception) as raised:
            study.tell(trial, 0.5)
        assert postgres.loss(raised.value) is not None
        with pytest.raises(StorageError, match="check RNNEXP_STORAGE, and that the server is running"):
            view(home, "s")
    finally:
        postgres_server.start()
    assert postgres.loss(ValueError("something else")) is None
    study.tell(trial, 0.5)


def _refused(home: Home) -> str:
    """Returns the one line of the refusal, which contains no password."""
    with pytest.raises(StorageError) as raised:
        bulk_reader.study_names(home)
    line = str(raised.value)
    assert "\n" not in line
    assert PASSWORD not in line
    return line


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda url: url.replace("postgresql+psycopg", "mysql"), "expected postgresql+psycopg://USER@HOST/DATABASE"),
        (lambda url: "studies.db", "got 'studies.db', expected postgresql"),
        (lambda url: url.replace("127.0.0.1", "127.0.0.9"), "Connection refused"),
        (lambda url: url.replace(PASSWORD, "wrong-password-1"), "password authentication failed"),
        (lambda url: f"{url}-none", "does not exist"),
    ],
)
def test_a_wrong_address_is_one_line(
    home: Home, monkeypatch: pytest.MonkeyPatch, change: Callable[[str], str], expected: str
) -> None:
    monkeypatch.setenv("RNNEXP_STORAGE", change(os.environ["RNNEXP_STORAGE"]))
    line = _refused(home)
    assert expected in line
    assert "RNNEXP_STORAGE" in line
    with pytest.raises(StorageError):
        open_storage(Home.open(home.root / "other"))


def test_tables_of_another_version_are_refused(home: Home, on_postgres: str, postgres_server: PostgresServer) -> None:
    create_study(home, "one")
    open_storage.cache_clear()
    with postgres_server.as_administrator(on_postgres) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v9.9.9'")
        with pytest.raises(StorageError, match="no longer compatible with the table schema"):
            open_storage(home)
        connection.execute("ALTER TABLE trials RENAME COLUMN number TO position")
    with pytest.raises(StorageError, match="its tables are of another version of Optuna"):
        bulk_reader.read(home, "one")


def test_a_user_without_rights_is_told_what_is_missing(
    home: Home, on_postgres: str, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgres_server.as_administrator(on_postgres) as connection:
        connection.execute("ALTER DATABASE " + on_postgres.rpartition("/")[2] + " OWNER TO administrator")
    with pytest.raises(StorageError, match="the user lacks a right"):
        open_storage(home)
    assert postgres.describe(os.environ["RNNEXP_STORAGE"]).missing_right == "may not create tables"


def test_a_database_describes_itself(home: Home) -> None:
    facts = postgres.describe(os.environ["RNNEXP_STORAGE"])
    assert (facts.schema_version, facts.missing_right) == (None, None)
    assert abs(facts.clock_s) < 2
    create_study(home, "one")
    facts = postgres.describe(os.environ["RNNEXP_STORAGE"])
    assert facts.schema_version == optuna.storages.RDBStorage("sqlite://").get_head_version()
    assert facts.missing_right is None


def test_a_password_with_unusual_characters_works(
    home: Home, on_postgres: str, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with postgres_server.as_administrator(on_postgres) as connection:
        connection.execute(f"ALTER ROLE {on_postgres.rpartition('/')[2]} PASSWORD 'a{{b}}%c'")
    monkeypatch.setenv("RNNEXP_STORAGE", on_postgres.replace(PASSWORD, "a{b}%25c"))
    create_study(home, "one")
    assert bulk_reader.study_names(home) == ["one"]
