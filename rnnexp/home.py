"""The home folder (default `mlruns/`). Only this module builds its paths and the addresses of its databases.

It does not read or write the files.
"""

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from rnnexp import addresses
from rnnexp.errors import HomeError, StorageError, shown

FORMER_SINGLE_RUNS = "train"
"""The folder in which versions before November 2026 kept the runs of `rnnexp train`, which had no study."""

_POSTGRES = ("postgresql", "postgresql+psycopg", "postgres")
"""The schemes of addresses of PostgreSQL."""


def sqlite_url(path: Path) -> str:
    """Returns the SQLAlchemy URL of a database. SQLAlchemy decodes it; Optuna also uses it as a template with `{}`."""
    return "sqlite:///" + re.sub("[%?{}]", lambda match: quote(match[0]), str(path))


@dataclass(frozen=True)
class TrialFolder:
    """The folder of one trial."""

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
        """The checkpoint of the last epoch, from which the trial resumes."""
        return self.root / "state.npz"

    @property
    def best(self) -> Path:
        return self.root / "checkpoints" / "best.keras"

    @property
    def held_out(self) -> Path:
        """The probabilities of the best epoch on the validation part."""
        return self.root / "held_out.npz"

    @property
    def set_aside(self) -> Path:
        """Files that a repair has replaced or given up. Only the user removes them."""
        return self.root / "set-aside"

    @property
    def exported(self) -> Path:
        """Exists if the model was exported; the model is then never removed."""
        return self.root / "exported"

    @property
    def retention_lock(self) -> Path:
        """The lock that is held while a model of the study is removed or marked as exported."""
        return self.root.parent / ".retention.lock"

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
        """The id of the MLflow run, and the number of events sent to it."""
        return self.root / "mlflow.json"


@dataclass(frozen=True)
class StudyFolder:
    """The folder of one study: its trials, and the files of the whole study."""

    root: Path

    def trial(self, number: int) -> TrialFolder:
        return TrialFolder(self.root / "trials" / f"{number:05d}")

    def numbers(self) -> list[int]:
        """Returns the numbers of the trials that have a folder."""
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
        """A folder of stop requests: a file named by a trial's number asks the supervisor to stop that trial."""
        return self.root / "stop"

    @property
    def about(self) -> Path:
        """Data of the study that no trial folder contains: its identity and the digest of its data set."""
        return self.root / "study.json"

    @property
    def deleted(self) -> Path:
        """Exists while the study is being deleted."""
        return self.root / "deleted"

    @property
    def recorded(self) -> Path:
        """The state that the study's own MLflow run contains; the run is written again only if it changes."""
        return self.root / "recorded"

    @property
    def bundle(self) -> Path:
        """The bundle of the study's best model, as it is logged to MLflow."""
        return self.root / "best"

    @property
    def report(self) -> Path:
        """The report, as it is on the study's pages in MLflow."""
        return self.root / "report.html"

    @property
    def certificate(self) -> Path:
        """The result of a certification; in the folder of the study that trained its seeds."""
        return self.root / "certificate.json"

    @property
    def certified(self) -> Path:
        """The digest of the certificate that MLflow has, with the leader's model, and of MLflow's address."""
        return self.root / "certified"


def existing_text(path: Path) -> str | None:
    """Returns the content of a small file of a home; None if there is no such file.

    Raises:
        HomeError: if it cannot be read now, which says nothing about its content.
    """
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise HomeError(f"{path}: cannot be read ({error.strerror})") from None


def default_root() -> str:
    """Returns the home that is used if none is named: $RNNEXP_HOME, else ./mlruns."""
    return os.environ.get("RNNEXP_HOME", "mlruns")


@dataclass(frozen=True)
class Home:
    """All state of the program: `optuna.db`, `mlflow.db`, `artifacts/`, `cache/`, `work/`, `logs/`."""

    root: Path

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "Home":
        """Checks that the folder can be created and written to; the first file written creates it.

        The check creates no folder of the home: another command may be about to write into the same new home.

        Raises:
            HomeError: if it cannot be written to.
        """
        root = Path(path).expanduser().absolute()
        try:
            existing = next(folder for folder in (root, *root.parents) if folder.exists())
            if existing == root:
                with tempfile.TemporaryFile(dir=root):
                    pass
            else:
                Path(tempfile.mkdtemp(prefix=".rnnexp-", dir=existing)).rmdir()
        except OSError as error:
            reason = error.strerror or str(error)
            raise HomeError(
                f"{path}: the home folder cannot be written ({reason}); name another with --home or RNNEXP_HOME"
            ) from None
        return cls(root)

    @classmethod
    def at(cls, path: str | os.PathLike[str]) -> "Home":
        """Returns the home at `path`, without a check."""
        return cls(Path(path).expanduser().absolute())

    @property
    def optuna_db(self) -> Path:
        return self.root / "optuna.db"

    @property
    def optuna_url(self) -> str:
        return sqlite_url(self.optuna_db)

    @property
    def storage_server(self) -> str | None:
        """The PostgreSQL database in RNNEXP_STORAGE, without credentials; None if the studies are in `optuna.db`."""
        address = addresses.storage_address()
        return addresses.without_credentials(address) if address else None

    @property
    def storage_url(self) -> str:
        """The SQLAlchemy URL of the database of the studies. Never store or show it.

        Raises:
            StorageError: if RNNEXP_STORAGE is not the address of a PostgreSQL database.
        """
        address = addresses.storage_address()
        if not address:
            return self.optuna_url
        scheme, mark, place = address.partition("://")
        if not mark or scheme not in _POSTGRES:
            raise StorageError(
                f"RNNEXP_STORAGE: got {shown(self.storage_server)}, expected postgresql+psycopg://USER@HOST/DATABASE; "
                f"without it, the studies are in {self.optuna_db}"
            )
        return "postgresql+psycopg://" + re.sub("[{}]", lambda match: quote(match[0]), place)

    @property
    def mlflow_db(self) -> Path:
        return self.root / "mlflow.db"

    @property
    def mlflow_uri(self) -> str:
        return sqlite_url(self.mlflow_db)

    @property
    def tracking_server(self) -> str | None:
        """The MLflow server in MLFLOW_TRACKING_URI, without credentials; None if the runs are stored in the home."""
        address = addresses.tracking_address()
        return addresses.without_credentials(address) if addresses.is_http(address) else None

    @property
    def tracking_uri(self) -> str:
        """The address for a client of MLflow: the server's or the database's. Never store or show it."""
        address = addresses.tracking_address()
        return address if addresses.is_http(address) else self.mlflow_uri

    @property
    def tracking_note(self) -> str | None:
        """One line about the part of MLFLOW_TRACKING_URI that is not used; None if all of it is."""
        address = addresses.tracking_address()
        if not address or address == self.mlflow_uri:
            return None
        shown = addresses.without_credentials(address)
        if not addresses.is_http(address):
            return (
                f"MLFLOW_TRACKING_URI is {shown}, which is not used: expected the address of a server (http or https); "
                f"the runs are in {self.mlflow_db}"
            )
        if "?" in address:
            return (
                f"MLFLOW_TRACKING_URI: the part after `?` is not used, because MLflow cannot send it to {shown}; set "
                "MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        return None

    @property
    def artifacts(self) -> Path:
        return self.root / "artifacts"

    def experiment_artifacts(self, study: str) -> Path:
        return self.artifacts / study

    @property
    def cache(self) -> Path:
        """The token stores. They can be deleted; they are built again when needed."""
        return self.root / "cache"

    @property
    def stores_lock(self) -> Path:
        """The lock that is held while the two databases are created."""
        return self.root / ".stores.lock"

    @property
    def repair_lock(self) -> Path:
        """The lock that every running study shares, and that a repair of the whole home holds alone."""
        return self.root / ".repair.lock"

    @property
    def id_file(self) -> Path:
        """The identity of the home (`rnnexp.home_id`)."""
        return self.root / "home.json"

    @property
    def id_lock(self) -> Path:
        """The lock that is held while the home gets its identity."""
        return self.root / ".home.lock"

    @property
    def openings(self) -> Path:
        """The log of test set uses, one line for each."""
        return self.root / "test_openings.jsonl"

    @property
    def logs(self) -> Path:
        """The folder of bug reports."""
        return self.root / "logs"

    @property
    def devices(self) -> Path:
        """The measured speed of this machine's devices."""
        return self.root / "devices.json"

    @property
    def work(self) -> Path:
        """The folder of the studies, one subfolder for each."""
        return self.root / "work"

    def fetched(self, identity: str) -> StudyFolder:
        """The folder with what was fetched of a study of another home. It can be deleted.

        Another machine has written the identity into the database, so it must not lead to another folder.
        """
        return StudyFolder(self.root / "fetched" / re.sub("[^0-9A-Za-z-]", "_", identity))

    def study(self, name: str) -> StudyFolder:
        return StudyFolder(self.work / name)
