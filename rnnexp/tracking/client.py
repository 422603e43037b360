"""Opens MLflow: the library with this program's settings, a client of the home, and a study's experiment."""

import contextlib
import importlib
import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from rnnexp import addresses, disk
from rnnexp.home import Home, sqlite_url
from rnnexp.storage import sqlite
from rnnexp.storage.database import database_creation_lock
from rnnexp.tracking.artifacts import check_place, refuse_local_paths
from rnnexp.tracking.paths import artifact_address, local_path

T = TypeVar("T")

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
}


DEFAULT_EXPERIMENT = "0"
"""The id of the experiment that MLflow creates, and that programs use which name no other."""


class ExperimentError(Exception):
    """The study's name is that of an experiment which no study may use."""


class MovedError(Exception):
    """The home was moved or copied, and MLflow's database still contains the old path."""


IN_USE = threading.RLock()
"""Held by a thread that uses MLflow beside another one. MLflow imports its modules late, and two threads that import
modules of one library at the same time may see a module that is only half imported."""


_MISSING = ("RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "INVALID_PARAMETER_VALUE")
"""The codes of an answer that something does not exist; MLflow gives the last one for an alias."""


def if_exists(ask: Callable[[], T]) -> T | None:
    """Returns what MLflow answers; None if it says that it has nothing of that kind.

    Raises:
        Exception: if MLflow does not answer; that says nothing about what it has.
    """
    from mlflow.exceptions import MlflowException

    try:
        return ask()
    except MlflowException as error:
        if error.error_code not in _MISSING:
            raise
        return None


def import_mlflow() -> Any:
    """Imports MLflow without telemetry, progress bars and information messages."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    addresses.hand_over_credentials()
    import mlflow

    for logger in ("mlflow", "alembic"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    if not os.environ.get("MLFLOW_TRACKING_URI", "").startswith("http"):
        from mlflow.store.db import utils

        # It creates the folder of a database, but does not decode the address: another folder if the path has a `%`.
        utils._make_parent_dirs_if_sqlite = lambda _: None
    # It logs an error of a database with a traceback, and raises it, too: the caller reports it in one line.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # a warning shows the address; the error is reported anyway
    refuse_local_paths()
    return mlflow


def import_for_models() -> Any:
    """Imports MLflow with the part that logs models."""
    mlflow = import_mlflow()
    # About MLflow's own models. A filter that is removed again would be set for the other threads, too.
    warnings.filterwarnings("ignore", message=".*Any type hint is inferred as AnyType", category=UserWarning)
    importlib.import_module("mlflow.pyfunc")
    with contextlib.suppress(Exception):  # MLflow does without it
        importlib.import_module("git")  # it looks for the commit of the program
    from mlflow.utils import environment

    # It reads the files of all installed packages, to warn if a requirement is not the installed version; ours are.
    environment.warn_dependency_requirement_mismatches = lambda _: None
    return mlflow


def connect(home: Home) -> Any:
    """Returns a client of the MLflow that the home uses; creates no database."""
    mlflow = import_mlflow()
    return mlflow.MlflowClient(tracking_uri=home.tracking_uri, registry_uri=home.tracking_uri)


_ADDRESSES = (addresses.VARIABLE, "MLFLOW_REGISTRY_URI")


@contextlib.contextmanager
def as_global(mlflow: Any, home: Home) -> Iterator[None]:
    """Makes the home's MLflow the global one in the block: some functions of models know no other.

    MLflow also writes the addresses to the environment, from which this program, its processes and MLflow itself would
    take them for the user's.
    """
    before = {name: os.environ.get(name) for name in _ADDRESSES}
    mlflow.set_tracking_uri(home.tracking_uri)
    mlflow.set_registry_uri(home.tracking_uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(None)
        mlflow.set_registry_uri(None)
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def open_client(home: Home) -> Any:
    """Returns a client of the tracking server, if one is set; else of the home's own database, created if missing."""
    mlflow = import_mlflow()
    if home.tracking_server is not None:
        return mlflow.MlflowClient(tracking_uri=home.tracking_uri)
    with database_creation_lock(home):
        if not home.mlflow_db.exists():
            _create_database(home.mlflow_db)
        sqlite.set_up(home.mlflow_db)
        client = mlflow.MlflowClient(tracking_uri=home.mlflow_uri)
        client.search_experiments(max_results=1)  # updates the tables of an earlier version
    return client


def log_text(home: Home, run_id: str, text: str, name: str) -> None:
    """Writes a text as an artifact of a run, in place of an earlier one of that name.

    Raises:
        Exception: if MLflow cannot be written.
    """
    with IN_USE:
        connect(home).log_text(run_id, text, name)


def _create_database(path: Path) -> None:
    """Creates MLflow's database in another file, which is renamed when it is complete.

    MLflow creates its tables in many transactions. If its process is killed in between, it cannot open the database
    any more.
    """
    from mlflow import MlflowClient

    with disk.replacing(path) as beside:
        for suffix in ("", *sqlite.FILES_BESIDE):  # of a process that was killed
            beside.with_name(beside.name + suffix).unlink(missing_ok=True)
        sqlite.set_up(beside)
        client = MlflowClient(tracking_uri=sqlite_url(beside))
        client.search_experiments(max_results=1)  # creates the tables
        client._tracking_client.store.engine.dispose()
        sqlite.complete_file(beside)


def open_experiment(client: Any, home: Home, study: str) -> str:
    """Returns the id of the study's experiment. Creates a missing one and restores one that was deleted in MLflow's UI.

    Raises:
        MovedError: if the home's own database stores the experiment's files outside this home.
        ExperimentError: if it is MLflow's default experiment.
        LocalPathError: if a server stores the experiment's files in a local path.
    """
    experiment = client.get_experiment_by_name(study)
    if experiment is None:
        if home.tracking_server is None:
            location = home.experiment_artifacts(study)
            location.mkdir(parents=True, exist_ok=True)
            return str(client.create_experiment(study, artifact_location=artifact_address(location)))
        experiment = client.get_experiment(client.create_experiment(study))  # the server chooses where it stores files
    if experiment.experiment_id == DEFAULT_EXPERIMENT:
        raise ExperimentError(
            f"{study} is MLflow's default experiment, which other programs use, too; choose another name with --study"
        )
    if home.tracking_server is not None:
        check_place(experiment.artifact_location, home.tracking_uri)
    if experiment.lifecycle_stage != "active":
        client.restore_experiment(experiment.experiment_id)
    if home.tracking_server is None and local_path(experiment.artifact_location) != home.experiment_artifacts(study):
        raise MovedError(
            f"{home.mlflow_db.name} stores files in {experiment.artifact_location}, but this home is {home.root}; "
            f"`rnnexp doctor --repair --home {home.root}` corrects the paths"
        )
    return str(experiment.experiment_id)
