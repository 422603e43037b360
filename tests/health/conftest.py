"""A small real home, created once. Each test damages a copy of it."""

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
from rnnexp.health.studies import Observation
from rnnexp.home import Home, TrialFolder
from rnnexp.storage import database
from rnnexp.storage.views import view
from rnnexp.tracking.client import import_mlflow
from rnnexp.trial.cursor import Cursor
from tests.e2e.conftest import SWEEP, sweep

STUDY = "small"
SWEEP_WITH_TWO_MODELS = SWEEP.replace("checkpoints: 1", "checkpoints: 2")


@dataclass(frozen=True)
class HomeCopy:
    """A copy of the home, with helpers that damage and check it."""

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

    def mlflow_copy_of_best(self, number: int) -> Path:
        return self.home.experiment_artifacts(STUDY) / self.run_id(number) / "artifacts" / "checkpoints" / "best.keras"

    def findings(self) -> list[Finding]:
        return list(checks.find_problems(self.home))

    def repair(self) -> list[str]:
        """Repairs everything; returns what was done, and asserts that no finding is left."""
        outcomes = list(checks.repair(self.home))
        left = [(item.finding.where, item.finding.what, item.failure) for item in outcomes if item.done is None]
        assert left == []
        assert [(finding.where, finding.what) for finding in self.findings()] == []
        return [item.done or "" for item in outcomes]

    def find_one(self, *words: str) -> Finding:
        """Returns the one finding that contains all the words."""
        found = self.findings()
        matching = [item for item in found if all(word in f"{item.check} {item.where} {item.what}" for word in words)]
        assert len(matching) == 1, [(item.check, item.where, item.what) for item in found]
        return matching[0]

    def client(self) -> Any:
        return import_mlflow().MlflowClient(tracking_uri=self.home.mlflow_uri, registry_uri=self.home.mlflow_uri)

    def sql(self, database: str, statement: str, *values: Any) -> list[Any]:
        connection = sqlite3.connect(self.root / database, timeout=60)
        try:
            with connection:
                return connection.execute(statement, values).fetchall()
        finally:
            connection.close()

    def rows(self) -> list[dict[str, Any]]:
        """Returns the trials as the listing shows them."""
        return [asdict(row) for row in view(self.home, STUDY).trials]

    def doctor(self, *arguments: str) -> int:
        return main(["doctor", "--no-devices", "--home", str(self.root), *arguments])


def flip_byte(path: Path, at: float = 0.5) -> None:
    """Inverts one byte of a file."""
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 0xFF
    path.write_bytes(bytes(content))


def truncate(path: Path, share: float = 0.5) -> None:
    """Keeps only the first part of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a home after a small sweep of three trials."""
    root = tmp_path_factory.mktemp("healthy")
    sweep(root, SWEEP_WITH_TWO_MODELS)
    return root


@pytest.fixture
def moved_copy(original: Path, tmp_path: Path) -> HomeCopy:
    """A copy of the home. MLflow still contains the paths of the original."""
    shutil.copytree(original / "home", tmp_path / "home")
    return HomeCopy(tmp_path / "home", original / "sweep.yaml")


@pytest.fixture
def home_copy(moved_copy: HomeCopy) -> Iterator[HomeCopy]:
    """A copy of the home without any fault."""
    from rnnexp.health import moved

    for finding in moved.check(Observation(moved_copy.home)):
        assert finding.fix is not None
        finding.fix()
    for path in moved_copy.root.glob("mlflow.db.before-*"):
        path.unlink()
    import_mlflow()
    from mlflow.tracking._tracking_service import utils

    utils._artifact_repos_cache.clear()  # it is indexed by run id, and all copies of the home have the same ids
    yield moved_copy
    database.open_storage.cache_clear()


def make_waiting(home_copy: HomeCopy, number: int, epochs: int = 1) -> None:
    """Turns a finished trial into one that was interrupted after some epochs and has a checkpoint."""
    folder = home_copy.trial(number)
    lines = [line for line in folder.events.read_text().splitlines() if '"epoch": 2' not in line]
    kept = [line for line in lines if '"finished"' not in line and '"attempt_ended"' not in line][: 1 + epochs]
    folder.events.write_text("\n".join(kept) + "\n")
    folder.state.write_bytes(folder.held_out.read_bytes())
    (trial_id,) = home_copy.sql("optuna.db", "SELECT trial_id FROM trials WHERE number = ?", number)[0]
    home_copy.sql(
        "optuna.db", "UPDATE trials SET state = 'RUNNING', datetime_complete = NULL WHERE trial_id = ?", trial_id
    )
    home_copy.sql("optuna.db", "DELETE FROM trial_values WHERE trial_id = ?", trial_id)
    home_copy.sql(
        "optuna.db", "DELETE FROM trial_intermediate_values WHERE trial_id = ? AND step > ?", trial_id, epochs
    )
    home_copy.sql("mlflow.db", "UPDATE runs SET status = 'RUNNING' WHERE run_uuid = ?", home_copy.run_id(number))
    Cursor(home_copy.run_id(number), len(kept)).save(folder.tracking)


def wait_until(condition: Any, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timeout"
        time.sleep(0.02)
