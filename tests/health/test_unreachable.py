"""What cannot be asked now is not lost: a server out of reach, an owner file that cannot be read."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rnnexp import locks
from rnnexp.health import checks, studies
from rnnexp.home import Home
from rnnexp.storage import database
from rnnexp.storage.study_lock import hold_study_lock, lock_owner
from rnnexp.trial.cursor import Cursor
from tests.health.fake_study import finish_study
from tests.health.limits import no_descriptors

NO_SERVER = "http://127.0.0.1:9"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A home in which trial 1 has lost the event of an epoch."""
    home = finish_study(tmp_path)
    path = home.study("s").trial(1).events
    path.write_text("".join(f"{line}\n" for line in path.read_text().splitlines() if '"epoch": 2' not in line))
    yield home
    database.open_storage.cache_clear()


def _about_epochs(home: Home) -> list[str]:
    return [finding.what for finding in checks.find_problems(home) if "its events lack" in finding.what]


def test_events_are_not_lost_while_the_server_is_out_of_reach(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = home.study("s").trial(1)
    Cursor("c" * 32, 3, NO_SERVER).save(trial.tracking)
    before = {path: path.read_bytes() for path in trial.root.iterdir() if path.is_file()}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NO_SERVER)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (what,) = _about_epochs(home)
    assert what.startswith("its events lack epoch 2; whether MLflow has it is not known: MLflow cannot be read now")
    list(checks.repair(home))
    assert {path: path.read_bytes() for path in trial.root.iterdir() if path.is_file()} == before


def test_events_are_not_lost_if_their_run_is_in_another_mlflow(home: Home) -> None:
    trial = home.study("s").trial(1)
    Cursor("c" * 32, 3, NO_SERVER).save(trial.tracking)
    before = trial.tracking.read_bytes(), trial.events.read_bytes()
    (what,) = _about_epochs(home)
    assert f"not known: its run is in {NO_SERVER}" in what
    list(checks.repair(home))
    assert (trial.tracking.read_bytes(), trial.events.read_bytes()) == before


def test_events_are_lost_if_mlflow_has_no_run(home: Home) -> None:
    (what,) = _about_epochs(home)
    assert "MLflow does not have all of it" in what
    assert not home.mlflow_db.exists(), "a check creates no database"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}'])
def test_a_held_lock_without_a_readable_owner_is_not_free(home: Home, content: str) -> None:
    lock = home.study("s").lock
    with hold_study_lock(home, "s"):
        lock.write_text(content)
        owner = lock_owner(home, "s")
        assert owner is not None and str(owner) == "another process"
        assert studies.running(home) == ["s"]
        assert studies.Observation(home).idle() == []
    assert lock_owner(home, "s") is None


def test_a_lock_that_cannot_be_tested_is_not_free(home: Home) -> None:
    lock = home.study("s").lock
    lock.touch()
    assert not locks.is_held(lock)
    with no_descriptors():
        assert locks.is_held(lock)
        assert lock_owner(home, "s") is not None
