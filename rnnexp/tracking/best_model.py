"""Writes the study's own run in MLflow: its report, and its best model as a registered model that accepts raw text."""

import contextlib
import importlib.metadata
import io
import time
import warnings
from pathlib import Path

from rnnexp.home import Home
from rnnexp.storage.views import StudyView
from rnnexp.tracking.client import import_mlflow
from rnnexp.tracking.projection import Projection

ALIAS = "best"


def is_logged(home: Home, study: StudyView) -> bool:
    """Tells whether the study's registered model is the model of its best trial."""
    mlflow = import_mlflow()
    client = mlflow.MlflowClient(tracking_uri=home.tracking_uri, registry_uri=home.tracking_uri)
    try:
        version = client.get_model_version_by_alias(study.name, ALIAS)
    except mlflow.exceptions.MlflowException:
        return False
    assert study.best is not None
    return bool(version.tags.get("rnnexp.run_id") == study.best.run_id)


def record(home: Home, study: StudyView, files: list[Path], bundle: Path | None, code: Path, began: float) -> None:
    """Writes the study's run and, if there is a bundle, logs and registers the best model.

    Args:
        home: contains the study.
        study: has a best trial.
        files: the files about the whole study.
        bundle: the verified bundle of the best trial; None if it is logged already or its trial has no run yet.
        code: the Python file that MLflow runs to predict with the bundle.
        began: seconds since 1970.
    """
    assert study.best is not None
    metrics = {f"best_{study.metric}": study.best.value or 0.0, "best_trial": float(study.best.number)}
    run_id = Projection.open(home, study.name, study.identity).log_study(files, metrics, began, time.time())
    if bundle is not None:
        _log_model(home, study, run_id, bundle, code)


def _log_model(home: Home, study: StudyView, run_id: str, bundle: Path, code: Path) -> None:
    mlflow = import_mlflow()
    assert study.best is not None
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
            tags={"rnnexp.trial": str(study.best.number), "rnnexp.run_id": str(study.best.run_id)},
        )
    client = mlflow.MlflowClient()
    for name, value in study.best.metrics.items():
        if name.startswith("val_"):
            client.log_metric(run_id, name, value, model_id=logged.model_id)
    version = logged.registered_model_version
    client.set_model_version_tag(study.name, version, "rnnexp.run_id", str(study.best.run_id))
    client.set_registered_model_alias(study.name, ALIAS, version)
