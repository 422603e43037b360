"""A small real home, made once; each test damages a copy of it."""

import shutil
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from rnnexp.cli import main
from rnnexp.health import checks
from rnnexp.health.finding import Finding
from rnnexp.home import Home, TrialFolder
from rnnexp.storage import store as stores
from rnnexp.storage.views import view
from rnnexp.tracking.client import import_mlflow
from rnnexp.trial.cursor import Cursor
from tests.e2e.conftest import SWEEP, sweep

STUDY = "small"
KEEPING_TWO = SWEEP.replace("checkpoints: 1", "checkpoints: 2")


@dataclass(frozen=True)
class Patient:
    """A copy of the home, moved to its own place as a copy should be."""

    root: Path
    sweep: Path

    @property
    def home(self) -> Home:
        return Home.at(self.root)

    def trial(self, number: int) -> TrialFolder:
        return self.home.study(STUDY).trial(number)

    def run_id(self, number: int) -> str:
        found = Cursor.load(self.trial(number).tracking).run_id
        assert found is not None
        return found

    def copy_of_best(self, number: int) -> Path:
        return self.home.experiment_artifacts(STUDY) / self.run_id(number) / "artifacts" / "checkpoints" / "best.keras"

    def findings(self) -> list[Finding]:
        return list(checks.examine(self.home))

    def repair(self) -> list[str]:
        """Mends; returns what was done, and asserts that nothing is wrong any more."""
        outcomes = list(checks.repair(self.home))
        left = [(one.finding.where, one.finding.what, one.failure) for one in outcomes if one.done is None]
        assert left == []
        assert [(one.where, one.what) for one in self.findings()] == []
        return [one.done or "" for one in outcomes]

    def named(self, *words: str) -> Finding:
        """Returns the one finding that has all the words."""
        found = self.findings()
        fitting = [one for one in found if all(word in f"{one.check} {one.where} {one.what}" for word in words)]
        assert len(fitting) == 1, [(one.check, one.where, one.what) for one in found]
        return fitting[0]

    def mlflow(self) -> Any:
        return import_mlflow().MlflowClient(tracking_uri=self.home.mlflow_uri, registry_uri=self.home.mlflow_uri)

    def sql(self, database: str, statement: str, *values: Any) -> list[Any]:
        connection = sqlite3.connect(self.root / database, timeout=60)
        try:
            with connection:
                return connection.execute(statement, values).fetchall()
        finally:
            connection.close()

    def rows(self) -> list[dict[str, Any]]:
        """The trials as they are listed."""
        return [asdict(row) for row in view(self.home, STUDY).trials]

    def doctor(self, *arguments: str) -> int:
        return main(["doctor", "--no-devices", "--home", str(self.root), *arguments])


def flip(path: Path, at: float = 0.5) -> None:
    """Changes a byte, so that nothing else of the file shows it."""
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 0xFF
    path.write_bytes(bytes(content))


def cut(path: Path, share: float = 0.5) -> None:
    """Cuts a file short."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


@pytest.fixture(scope="session")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which a small sweep of three trials has been run, as it was left."""
    root = tmp_path_factory.mktemp("healthy")
    sweep(root, KEEPING_TWO)
    return root


@pytest.fixture
def moved(healthy: Path, tmp_path: Path) -> Patient:
    """A copy of the home whose MLflow still names the old place."""
    shutil.copytree(healthy / "home", tmp_path / "home")
    return Patient(tmp_path / "home", healthy / "sweep.yaml")


@pytest.fixture
def patient(moved: Patient) -> Iterator[Patient]:
    """A copy of the home in which nothing is wrong."""
    from rnnexp.health import moved as moving

    for finding in moving.check(moved.home):
        assert finding.fix is not None
        finding.fix()
    for path in moved.root.glob("mlflow.db.before-*"):
        path.unlink()
    import_mlflow()
    from mlflow.tracking._tracking_service import utils

    utils._artifact_repos_cache.clear()  # by the run's id, which another copy of the home has too
    yield moved
    stores.open_storage.cache_clear()


def waits(patient: Patient, number: int, epochs: int = 1) -> None:
    """Makes of a finished trial one that was cut off after so many epochs, with a checkpoint to go on from."""
    folder = patient.trial(number)
    lines = [line for line in folder.events.read_text().splitlines() if '"epoch": 2' not in line]
    kept = [line for line in lines if '"finished"' not in line and '"closed"' not in line][: 1 + epochs]
    folder.events.write_text("\n".join(kept) + "\n")
    folder.state.write_bytes(folder.held_out.read_bytes())
    (this,) = patient.sql("optuna.db", "SELECT trial_id FROM trials WHERE number = ?", number)[0]
    patient.sql("optuna.db", "UPDATE trials SET state = 'RUNNING', datetime_complete = NULL WHERE trial_id = ?", this)
    patient.sql("optuna.db", "DELETE FROM trial_values WHERE trial_id = ?", this)
    patient.sql("optuna.db", "DELETE FROM trial_intermediate_values WHERE trial_id = ? AND step > ?", this, epochs)
    patient.sql("mlflow.db", "UPDATE runs SET status = 'RUNNING' WHERE run_uuid = ?", patient.run_id(number))
    Cursor(patient.run_id(number), len(kept)).save(folder.tracking)


def until(condition: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)
