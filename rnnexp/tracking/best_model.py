"""Writes the study's own run in MLflow: its report, and its best model as a registered model that accepts raw text."""

import contextlib
import importlib.metadata
import io
import time
import warnings
from pathlib import Path
from typing import Any

from rnnexp import home_id
from rnnexp.home import Home
from rnnexp.storage.views import StudyView
from rnnexp.tracking.client import connect, import_for_models, import_mlflow
from rnnexp.tracking.ownership import Ownership
from rnnexp.tracking.projection import Projection

ALIAS = "best"
_RUN = "rnnexp.run_id"
_ID_DIGITS = 8


def is_logged(home: Home, study: StudyView) -> bool:
    """Tells whether the study's registered model is the model of its best trial."""
    assert study.best is not None
    client, ownership = connect(home), Ownership.of(home, study.name, study.identity)
    for alias in (ALIAS, _own_alias(ownership)):
        version = _version(client, study.name, alias)
        if version is not None and _owns(client, ownership, version):
            return bool(version.tags.get(_RUN) == study.best.run_id)
    return False


def download(home: Home, study: StudyView, ownership: Ownership, to: Path) -> Path | None:
    """Downloads the bundle of a study's best trial, which was checked before it was registered.

    Args:
        home: this home.
        study: a study of another home, with the ids of its runs.
        ownership: identifies it in MLflow.
        to: an empty folder.

    Returns:
        The bundle; None if no model of its best trial is registered yet.
    """
    assert study.best is not None
    mlflow, client = import_mlflow(), connect(home)
    for alias in (ALIAS, _own_alias(ownership)):
        version = _version(client, study.name, alias)
        if version is not None and _owns(client, ownership, version) and version.tags.get(_RUN) == study.best.run_id:
            mlflow.set_tracking_uri(home.tracking_uri)
            mlflow.set_registry_uri(home.tracking_uri)
            address = f"models:/{study.name}/{version.version}"
            model = Path(mlflow.artifacts.download_artifacts(address, dst_path=str(to)))
            return model / "artifacts" / study.folder.bundle.name
    return None


def record(
    home: Home, study: StudyView, files: list[Path], bundle: Path | None, code: Path, began: float
) -> str | None:
    """Writes the study's run and, if there is a bundle, logs and registers the best model.

    Args:
        home: contains the study.
        study: has a best trial.
        files: the files about the whole study.
        bundle: the verified bundle of the best trial; None if it is logged already or its trial has no run yet.
        code: the Python file that MLflow runs to predict with the bundle.
        began: seconds since 1970.

    Returns:
        One line if the model has another alias than `best`, because that belongs to another home; else None.
    """
    assert study.best is not None
    metrics = {f"best_{study.metric}": study.best.value or 0.0, "best_trial": float(study.best.number)}
    run_id = Projection.open(home, study.name, study.identity).log_study(files, metrics, began, time.time())
    return _log_model(home, study, run_id, bundle, code) if bundle is not None else None


def _log_model(home: Home, study: StudyView, run_id: str, bundle: Path, code: Path) -> str | None:
    mlflow = import_for_models()
    assert study.best is not None
    home_id.claim(home)
    ownership = Ownership.of(home, study.name, study.identity)
    tags = ownership.tags | {_RUN: str(study.best.run_id)}
    mlflow.set_tracking_uri(home.tracking_uri)
    mlflow.set_registry_uri(home.tracking_uri)
    requirements = [
        f"{name}=={importlib.metadata.version(name)}" for name in ("rnnexp", "tensorflow", "keras", "mlflow")
    ]
    quiet = contextlib.redirect_stderr(io.StringIO())
    with quiet, warnings.catch_warnings(), mlflow.start_run(run_id=run_id):
        warnings.simplefilter("ignore")
        logged = mlflow.pyfunc.log_model(
            name="best",
            python_model=str(code),
            artifacts={"bundle": str(bundle)},
            pip_requirements=requirements,
            registered_model_name=study.name,
            tags={"rnnexp.trial": str(study.best.number), **tags},
        )
    client = connect(home)
    for metric, best in study.best.metrics.items():
        if metric.startswith("val_"):
            client.log_metric(run_id, metric, best, model_id=logged.model_id)
    version = logged.registered_model_version
    for name, value in tags.items():
        client.set_model_version_tag(study.name, version, name, value)
    return _set_alias(client, ownership, version)


def _set_alias(client: Any, ownership: Ownership, version: str) -> str | None:
    """Sets the alias `best`; if it points to a version of another home, an alias of this home instead."""
    study, current = ownership.study, _version(client, ownership.study, ALIAS)
    if current is None or _owns(client, ownership, current):
        client.set_registered_model_alias(study, ALIAS, version)
        return None
    alias = _own_alias(ownership)
    client.set_registered_model_alias(study, alias, version)
    return (
        f"MLflow: the alias {ALIAS!r} of the model {study} points to version {current.version}, which another home or "
        f"program has written; this study's best model is version {version}, with the alias {alias!r}"
    )


def _own_alias(ownership: Ownership) -> str:
    return f"{ALIAS}-{(ownership.home.value or ownership.identity)[:_ID_DIGITS]}"


def _version(client: Any, study: str, alias: str) -> Any:
    """Returns the version to which an alias points; None if there is none."""
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version_by_alias(study, alias)
    except MlflowException:
        return None


def _owns(client: Any, ownership: Ownership, version: Any) -> bool:
    """Tells whether a version is of this study; an old one has no tag of it, but the runs that it names may."""
    from mlflow.exceptions import MlflowException

    if ownership.owns(version.tags):
        return True
    if not ownership.is_of_home(version.tags):
        return False
    for run_id in filter(None, (version.run_id, version.tags.get(_RUN))):
        with contextlib.suppress(MlflowException):
            if ownership.owns(client.get_run(run_id).data.tags):
                return True
    return False
