"""Logs and registers a study's best model in MLflow, as a model that accepts raw text; finds and downloads it."""

import importlib.metadata
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rnnexp import home_id
from rnnexp.home import Home
from rnnexp.storage.views import StudyView, TrialRow
from rnnexp.tracking.client import as_global, connect, if_exists, import_for_models, import_mlflow
from rnnexp.tracking.descriptions import settings_table
from rnnexp.tracking.ownership import TRIAL, Ownership

BEST, CHAMPION = "best", "champion"
"""The aliases of the best trial's model, and of the model of the certified leader."""
_RUN = "rnnexp.run_id"
_ID_DIGITS = 8
_WHEEL = "rnnexp.wheel"
"""The tag of a model that carries this program: its version."""
_CONTEXT, _VERSIONS = "mlflow.data.context", "mlflow.modelVersions"


def is_logged(home: Home, study: StudyView) -> bool:
    """Tells whether the study's registered model is the model of its best trial."""
    assert study.best is not None
    client, ownership = connect(home), Ownership.of(home, study.name, study.identity)
    for alias in (BEST, _own_alias(ownership)):
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
    for alias in (BEST, _own_alias(ownership)):
        version = _version(client, study.name, alias)
        if version is not None and _owns(client, ownership, version) and version.tags.get(_RUN) == study.best.run_id:
            address = f"models:/{study.name}/{version.version}"
            with as_global(mlflow, home):
                model = Path(mlflow.artifacts.download_artifacts(address, dst_path=str(to)))
            return model / "artifacts" / study.folder.bundle.name
    return None


WriteModel = Callable[[Path, Path, Any], None]
"""Writes an MLflow model: into a folder, with a bundle, for a logged model that MLflow has created."""


def log(
    home: Home, study: StudyView, row: TrialRow, bundle: Path, write: WriteModel, alias: str | None = BEST
) -> str | None:
    """Logs the model of a trial, linked to the trial's run and its data, unless the run has it; registers it.

    Args:
        home: contains the study.
        study: names the registered model.
        row: the trial, with its run; of this study, or of its certification.
        bundle: the checked bundle of the trial.
        write: writes the files of the model.
        alias: that the registered version gets; None to register none.

    Returns:
        One line if the version has another alias, because that belongs to another home; else None.
    """
    mlflow, client = import_for_models(), connect(home)
    assert row.run_id is not None
    home_id.claim(home)
    ownership = Ownership.of(home, study.name, study.identity)
    tags = ownership.tags | {_RUN: row.run_id, TRIAL: str(row.number)}
    run = client.get_run(row.run_id)
    model = _of_run(client, run) or _log(mlflow, client, study, row, run, bundle, write, tags)
    if alias is None:
        return None
    with as_global(mlflow, home):  # the registry of a database looks for the model there
        version = _register(client, study, row, model, tags)
    return _set_alias(client, ownership, version, alias)


def _of_run(client: Any, run: Any) -> Any:
    """Returns the complete model that a run has; None if there is none."""
    for output in run.outputs.model_outputs if run.outputs is not None else ():
        model = client.get_logged_model(output.model_id)
        if str(model.status) == "READY" and model.tags.get(_WHEEL) == importlib.metadata.version("rnnexp"):
            return model
    return None


def _log(
    mlflow: Any,
    client: Any,
    study: StudyView,
    row: TrialRow,
    run: Any,
    bundle: Path,
    write: WriteModel,
    tags: dict[str, str],
) -> Any:
    """Logs the model of a trial; returns it."""
    tags = tags | {_WHEEL: importlib.metadata.version("rnnexp")}
    name = f"{study.name}-trial-{row.number}"
    model = client.create_logged_model(
        run.info.experiment_id, name, row.run_id, tags, run.data.params, "text classifier"
    )
    client.log_outputs(row.run_id, [mlflow.entities.LoggedModelOutput(model.model_id, row.best_epoch or 0)])
    with tempfile.TemporaryDirectory(prefix="rnnexp-model-") as temporary:
        write(Path(temporary) / "model", bundle, model)
        client.log_model_artifacts(model.model_id, str(Path(temporary) / "model"))
    client.finalize_logged_model(model.model_id, "READY")
    client.log_batch(row.run_id, metrics=_metrics_of_model(mlflow, client, run, row, model.model_id))
    return model


def _metrics_of_model(mlflow: Any, client: Any, run: Any, row: TrialRow, model_id: str) -> list[Any]:
    """Returns the metrics of the model's epoch as metrics of the model, those of a part with its data set."""
    datasets = {tag.value: one.dataset for one in run.inputs.dataset_inputs for tag in one.tags if tag.key == _CONTEXT}
    found = []
    for name in row.metrics:
        data = datasets.get("validation" if name.startswith("val_") else "training")
        for point in client.get_metric_history(run.info.run_id, name):
            if point.step == row.best_epoch:
                of_data = (data.name, data.digest) if data is not None else (None, None)
                metric = (point.key, point.value, point.timestamp, point.step, model_id, *of_data, run.info.run_id)
                found.append(mlflow.entities.Metric(*metric))
    return found


def _register(client: Any, study: StudyView, row: TrialRow, model: Any, tags: dict[str, str]) -> str:
    """Registers a logged model as a new version under the study's name; returns the version."""
    from mlflow.exceptions import MlflowException

    try:
        description = (
            f"Models of the study {study.name}: `{BEST}` of the best trial, `{CHAMPION}` of the certified leader."
        )
        client.create_registered_model(study.name, description=description)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    value = "" if row.value is None else f": {study.metric} {row.value:.4f} at epoch {row.best_epoch}"
    settings = "\n".join(settings_table(row.settings))
    description = (
        f"Trial {row.number} of {study.name}{value}. Input: texts; output: label and probability.\n\n{settings}"
    )
    source = f"models:/{model.model_id}"
    version = client.create_model_version(
        study.name, source, row.run_id, tags, description=description, model_id=model.model_id
    )
    named = json.loads(model.tags.get(_VERSIONS, "[]"))
    named.append({"name": study.name, "version": int(version.version)})
    client.set_logged_model_tags(model.model_id, {_VERSIONS: json.dumps(named)})
    return str(version.version)


def _set_alias(client: Any, ownership: Ownership, version: str, alias: str) -> str | None:
    """Sets an alias; if it points to a version of another home, an alias of this home instead."""
    study, current = ownership.study, _version(client, ownership.study, alias)
    if current is None or _owns(client, ownership, current):
        client.set_registered_model_alias(study, alias, version)
        return None
    own = _own_alias(ownership, alias)
    client.set_registered_model_alias(study, own, version)
    return (
        f"MLflow: the alias {alias!r} of the model {study} points to version {current.version}, which another home or "
        f"program has written; this study's {alias} model is version {version}, with the alias {own!r}"
    )


def _own_alias(ownership: Ownership, alias: str = BEST) -> str:
    return f"{alias}-{(ownership.home.value or ownership.identity)[:_ID_DIGITS]}"


def _version(client: Any, study: str, alias: str) -> Any:
    """Returns the version to which an alias points; None if there is none."""
    return if_exists(lambda: client.get_model_version_by_alias(study, alias))


def _owns(client: Any, ownership: Ownership, version: Any) -> bool:
    """Tells whether a version is of this study; an old one has no tag of it, but the runs that it names may."""
    if ownership.owns(version.tags):
        return True
    if not ownership.is_of_home(version.tags):
        return False
    for run_id in filter(None, (version.run_id, version.tags.get(_RUN))):
        run = if_exists(lambda run_id=run_id: client.get_run(run_id))  # type: ignore[misc]
        if run is not None and ownership.owns(run.data.tags):
            return True
    return False
