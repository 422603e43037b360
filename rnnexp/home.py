"""The home folder: the one place that builds a path or a store's address under `mlruns/`.

It knows where things are, not what is in them.
"""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rnnexp.errors import HomeError

FORMER_SINGLE_RUNS = "train"
"""Where versions before November 2026 kept the runs of `rnnexp train`, which belonged to no study."""


@dataclass(frozen=True)
class TrialFolder:
    """Where one trial keeps its files."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "config.yaml"

    @property
    def events(self) -> Path:
        return self.root / "events.jsonl"

    @property
    def log(self) -> Path:
        return self.root / "log.txt"

    @property
    def plan(self) -> Path:
        return self.root / "plan.json"

    @property
    def state(self) -> Path:
        """The last epoch's checkpoint: everything that going on needs."""
        return self.root / "state.npz"

    @property
    def best(self) -> Path:
        return self.root / "checkpoints" / "best.keras"

    @property
    def held_out(self) -> Path:
        """The best epoch's probabilities on the validation part."""
        return self.root / "held_out.npz"

    @property
    def exported(self) -> Path:
        """Is there if the model was exported: then it is kept for good."""
        return self.root / "exported"

    @property
    def history(self) -> Path:
        return self.root / "history.csv"

    @property
    def curves(self) -> Path:
        return self.root / "curves.png"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def tracking(self) -> Path:
        """The MLflow run's id and how far the events were sent."""
        return self.root / "mlflow.json"


@dataclass(frozen=True)
class StudyFolder:
    """Where one study keeps its trials and what concerns the whole."""

    root: Path

    def trial(self, number: int) -> TrialFolder:
        return TrialFolder(self.root / "trials" / f"{number:05d}")

    def numbers(self) -> list[int]:
        """Returns the trials that have a folder."""
        if not self.trials.is_dir():
            return []
        return sorted(int(path.name) for path in self.trials.iterdir() if path.name.isdigit())

    @property
    def trials(self) -> Path:
        return self.root / "trials"

    @property
    def sweep(self) -> Path:
        return self.root / "sweep.yaml"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def stop_requests(self) -> Path:
        """A file named after a trial's number asks the supervisor to stop that trial."""
        return self.root / "stop"

    @property
    def about(self) -> Path:
        """What no trial's folder says of the study: its identity and the digest of its data."""
        return self.root / "study.json"

    @property
    def deleted(self) -> Path:
        """Is there from the beginning of the study's deletion to its end."""
        return self.root / "deleted"

    @property
    def recorded(self) -> Path:
        """Tells what of the study its own run in MLflow has: as long as that is the same, it is not written again."""
        return self.root / "recorded"

    @property
    def bundle(self) -> Path:
        """The best model of a study that has ended, as it is logged to MLflow."""
        return self.root / "best"


@dataclass(frozen=True)
class Home:
    """All state of the program: `optuna.db`, `mlflow.db`, `artifacts/`, `cache/`, `work/`, `logs/`."""

    root: Path

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "Home":
        """Checks that the folder can be written, or created; leaves nothing behind: the first writer creates it.

        Raises:
            HomeError: if it cannot.
        """
        root = Path(path).expanduser().absolute()
        missing = [folder for folder in (root, *root.parents) if not folder.exists()]
        try:
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=root):
                pass
            for folder in missing:
                folder.rmdir()
        except OSError as error:
            reason = error.strerror or str(error)
            raise HomeError(
                f"{path}: the home folder cannot be written ({reason}); name another with --home or RNNEXP_HOME"
            ) from None
        return cls(root)

    @classmethod
    def at(cls, path: str | os.PathLike[str]) -> "Home":
        """The home at `path`, for reading: nothing is created."""
        return cls(Path(path).expanduser().absolute())

    @property
    def optuna_db(self) -> Path:
        return self.root / "optuna.db"

    @property
    def optuna_url(self) -> str:
        return f"sqlite:///{self.optuna_db}"

    @property
    def mlflow_db(self) -> Path:
        return self.root / "mlflow.db"

    @property
    def mlflow_uri(self) -> str:
        return f"sqlite:///{self.mlflow_db}"

    @property
    def tracking_server(self) -> str | None:
        """The MLflow server that MLFLOW_TRACKING_URI names; None where the home keeps the runs itself."""
        named = os.environ.get("MLFLOW_TRACKING_URI", "")
        return named if named.startswith(("http://", "https://")) else None

    @property
    def tracking_uri(self) -> str:
        """Where MLflow's runs are written and read."""
        return self.tracking_server or self.mlflow_uri

    @property
    def artifacts(self) -> Path:
        return self.root / "artifacts"

    def experiment_artifacts(self, study: str) -> Path:
        return self.artifacts / study

    @property
    def cache(self) -> Path:
        """Token stores; safe to delete, they are built again."""
        return self.root / "cache"

    @property
    def stores_lock(self) -> Path:
        """Held while the two databases are created."""
        return self.root / ".stores.lock"

    @property
    def openings(self) -> Path:
        """A line for each time that a test part was looked at."""
        return self.root / "test_openings.jsonl"

    @property
    def logs(self) -> Path:
        """Reports of bugs."""
        return self.root / "logs"

    @property
    def devices(self) -> Path:
        """How fast this machine's devices were when they were last measured."""
        return self.root / "devices.json"

    @property
    def work(self) -> Path:
        """A folder a study."""
        return self.root / "work"

    def study(self, name: str) -> StudyFolder:
        return StudyFolder(self.work / name)
