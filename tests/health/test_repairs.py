"""A repair acts on what it finds under the lock. The trials are fakes, the home and its databases are real."""

import json
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

import pytest

from rnnexp import locks
from rnnexp.config.trial import load_trial
from rnnexp.data.store import is_valid, prepare
from rnnexp.errors import StudyError
from rnnexp.health import checks, studies
from rnnexp.health.checks import RepairOutcome
from rnnexp.health.finding import Finding
from rnnexp.health.studies import Observation
from rnnexp.home import Home
from rnnexp.storage import database
from rnnexp.storage.study_lock import hold_home_lock, hold_study_lock
from rnnexp.trial import events
from rnnexp.trial.events import Evicted
from tests.health.fake_study import finish_study, write_archive
from tests.health.limits import no_descriptors
from tests.health.test_sqlite_files import close_database

pytestmark = pytest.mark.integration  # each test runs a study and repairs its home


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A home with a study of four fake trials and without a finding."""
    home = finish_study(tmp_path)
    assert list(checks.find_problems(home)) == []
    yield home
    database.open_storage.cache_clear()


def _sql(home: Home, statement: str, *values: Any) -> None:
    with closing(sqlite3.connect(home.optuna_db)) as connection, connection:
        connection.execute(statement, values)


def _meanwhile(monkeypatch: pytest.MonkeyPatch, name: str, action: Any) -> None:
    """Runs an action after the finding and before the repair has its lock, as another process could."""
    hold = getattr(checks, name)

    def wait_and_hold(*arguments: Any) -> AbstractContextManager[None]:
        action()
        result: AbstractContextManager[None] = hold(*arguments)
        return result

    monkeypatch.setattr(checks, name, wait_and_hold)


def _texts(outcomes: list[RepairOutcome]) -> list[str]:
    return [outcome.done or outcome.failure or outcome.finding.what for outcome in outcomes]


def test_a_model_that_was_restored_meanwhile_is_kept(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = home.study("s").trial(1)
    trial.best.write_bytes(b"damaged")
    assert [finding.where for finding in checks.find_problems(home)] == ["s trial 1"]
    _meanwhile(monkeypatch, "hold_study_lock", lambda: write_archive(trial.best))
    assert list(checks.repair(home)) == []
    assert trial.best.exists()
    assert not any(isinstance(event, Evicted) for event in events.read(trial.events))


def test_a_trial_that_was_completed_meanwhile_is_not_requeued(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = home.study("s").trial(1)
    before = trial.events.read_bytes()
    _sql(home, "UPDATE trials SET state = 'RUNNING' WHERE number = 1")
    _meanwhile(
        monkeypatch, "hold_study_lock", lambda: _sql(home, "UPDATE trials SET state = 'COMPLETE' WHERE number = 1")
    )
    assert list(checks.repair(home)) == []
    assert trial.events.read_bytes() == before


def test_a_database_that_was_restored_meanwhile_is_kept(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    close_database(home)
    good = home.optuna_db.read_bytes()
    home.optuna_db.write_bytes(b"damaged" * 100)
    _meanwhile(monkeypatch, "hold_home_lock", lambda: home.optuna_db.write_bytes(good))
    assert list(checks.repair(home)) == []
    assert home.optuna_db.read_bytes() == good


def test_a_new_study_cannot_start_while_the_home_is_repaired(home: Home) -> None:
    with hold_home_lock(home), pytest.raises(StudyError, match="repairs the home"), hold_study_lock(home, "new"):
        pass
    with hold_study_lock(home, "new"):
        pass


_RUN = """
import sys
from rnnexp.home import Home
from rnnexp.storage.study_lock import hold_study_lock
with hold_study_lock(Home.at(sys.argv[1]), "new"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_the_home_is_not_repaired_while_a_study_without_folder_starts(home: Home) -> None:
    """Another process starts a study after the repair has listed the folders."""
    close_database(home)
    home.optuna_db.write_bytes(b"damaged" * 100)
    with subprocess.Popen(
        [sys.executable, "-c", _RUN, str(home.root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == "held\n"
        home.study("new").lock.unlink()  # so that only the lock of the home tells that it runs
        (outcome,) = checks.repair(home)
        assert outcome.failure is not None and "cannot be repaired while another process uses it" in outcome.failure
        process.stdin.close()
    assert home.optuna_db.read_bytes() == b"damaged" * 100


def test_the_lock_of_an_earlier_versions_supervisor_protects_the_home(home: Home) -> None:
    with locks.held(home.study("s").lock), pytest.raises(StudyError, match="while s is running"), hold_home_lock(home):
        pass


@pytest.fixture
def store(home: Home) -> Path:
    """A token store in the cache, with a damaged file."""
    root = prepare(load_trial(None, {"data.name": "reviews"}).data, home).root
    (root / "labels.npy").write_bytes(b"damaged")
    assert not is_valid(root)
    return root


def test_a_store_that_a_process_builds_is_kept(home: Home, store: Path) -> None:
    with locks.held(store.with_name(f"{store.name}.lock")):
        assert list(checks.find_problems(home)) == []


def test_a_store_that_a_process_has_just_built_is_kept(
    home: Home, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _meanwhile(monkeypatch, "hold_home_lock", lambda: prepare(load_trial(None, {"data.name": "reviews"}).data, home))
    assert list(checks.repair(home)) == []
    assert is_valid(store)


def test_the_store_of_a_sweep_that_started_meanwhile_is_kept(home: Home, store: Path) -> None:
    found = next(iter(checks.find_problems(home)))
    assert found.where == f"cache/{store.name}" and found.study is None
    with hold_study_lock(home, "new"):
        (outcome,) = checks._repair_group(home, _check("cache"), None, [found])
        assert outcome.failure is not None
    assert store.is_dir()


def _check(name: str) -> checks.Check:
    return next(check for check in checks.CHECKS if check.name == name)


def test_a_store_that_cannot_be_read_now_is_kept(home: Home) -> None:
    root = prepare(load_trial(None, {"data.name": "reviews"}).data, home).root
    with no_descriptors():
        outcomes = list(checks.repair(home))
    assert outcomes and all("could not be" in outcome.finding.what for outcome in outcomes)
    assert is_valid(root)


def test_a_failed_repair_prevents_later_repairs_of_the_same_study_only(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def fail() -> str:
        raise OSError("disk failed")

    def find_first(observed: Observation) -> Iterator[Finding]:
        yield Finding("first", "s", "broken", "repair", studies.with_study_lock(home, "s", fail))

    def find_second(observed: Observation) -> Iterator[Finding]:
        held = observed.held
        for name in ("s", "other"):
            if held in (None, name):
                fix = studies.with_study_lock(home, name, lambda name=name: done.append(name) or name)  # type: ignore[misc]
                yield Finding("second", name, "broken", "repair", fix)
        if held is None:
            yield Finding("second", "home", "broken", "repair", lambda: done.append("home") or "home")

    monkeypatch.setattr(checks, "CHECKS", (checks.Check("first", find_first), checks.Check("second", find_second)))
    monkeypatch.setattr(checks, "_MAX_ROUNDS", 1)
    outcomes = list(checks.repair(home))
    assert done == ["other"]
    failures = {outcome.finding.where: outcome.failure for outcome in outcomes if outcome.done is None}
    assert failures["home"] == "not attempted, because an earlier repair or check failed"


def test_incomplete_files_and_folders_of_killed_processes_are_removed(home: Home) -> None:
    old = time.time() - 7200
    folders = [
        home.study("s").root / ".best-a1b2c3d4",
        home.cache / ".reviews-abc-a1b2c3d4",
    ]
    files = [home.root / "writing-devices.json", home.study("s").trial(0).root / "writing-config.yaml"]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "model.keras").write_bytes(b"x" * 100)
    for file in files:
        file.write_bytes(b"x" * 100)
        shutil.os.utime(file, (old, old))
    found = list(checks.find_problems(home))
    assert sum(finding.frees_bytes for finding in found) == 400
    outcomes = list(checks.repair(home))
    assert all(outcome.done is not None for outcome in outcomes), _texts(outcomes)
    assert not [path for path in (*folders, *files) if path.exists()]


def test_incomplete_files_that_a_process_may_be_writing_are_kept(home: Home) -> None:
    folder = home.cache / ".reviews-abc-a1b2c3d4"
    folder.mkdir(parents=True)
    recent = home.root / "writing-devices.json"
    recent.write_bytes(b"x")
    with locks.held(home.cache / "reviews-abc.lock"):
        assert list(checks.find_problems(home)) == []
    bundle = home.study("s").root / ".best-a1b2c3d4"
    bundle.mkdir()
    with hold_study_lock(home, "s"):
        assert list(checks.find_problems(home)) == []
    assert bundle.is_dir() and recent.exists()


def test_a_damaged_model_is_set_aside(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    from rnnexp.cli import main

    trial = home.study("s").trial(1)
    trial.best.write_bytes(b"damaged" * 1000)
    assert main(["doctor", "--repair", "--no-devices", "--home", str(home.root)]) == 0
    assert f"its files are in {trial.set_aside}" in capsys.readouterr().out
    assert (trial.set_aside / "1-best.keras").read_bytes() == b"damaged" * 1000
    assert main(["doctor", "--no-devices", "--home", str(home.root)]) == 0
    assert "set aside" in capsys.readouterr().out
    main(["doctor", "--json", "--no-devices", "--home", str(home.root)])
    assert json.loads(capsys.readouterr().out)["disk"]["set_aside"] > 7000


def test_settings_that_cannot_be_read_now_are_not_lost(home: Home) -> None:
    """A finished trial without settings would become a waiting one, which is trained again."""
    close_database(home)
    home.optuna_db.unlink()
    config = home.study("s").trial(2).config
    content = config.read_bytes()
    config.unlink()
    config.mkdir()  # reading it fails with EISDIR, an error that is not about the content
    list(checks.repair(home))
    config.rmdir()
    config.write_bytes(content)
    list(checks.repair(home))
    assert [snapshot.state for snapshot in Observation(home).trials("s")] == ["COMPLETE"] * 4
