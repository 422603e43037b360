"""Studies with a finished trial, made without training: the database, the folders and the events are real."""

import time
from pathlib import Path
from typing import Any

from rnnexp.config.sweep import SweepConfig
from rnnexp.home import Home
from rnnexp.storage.store import StudyStore
from rnnexp.storage.views import view
from rnnexp.study.records import TrialRecords
from rnnexp.tracking import best_model
from rnnexp.tracking.client import import_mlflow
from rnnexp.tracking.projection import Projection
from rnnexp.trial import events
from rnnexp.trial.events import AttemptEnded, EpochEnded, Finished, Started
from rnnexp.trial.states import State

DATA = {
    "name": "fake",
    "digest": "d" * 32,
    "split": "s" * 16,
    "labels": ["no", "yes"],
    "n_train": 8,
    "n_validation": 2,
    "source": "fake",
}


def config(name: str, trials: int = 1) -> SweepConfig:
    space = {"model.units": {"int": [8, 64]}}
    return SweepConfig.model_validate({"study": name, "budget": {"trials": trials}, "space": space})


def finish_trial(home: Home, name: str, accuracy: float) -> int:
    """Adds a finished trial to a study; creates a missing study. Nothing is sent to MLflow. Returns its number."""
    store = StudyStore.open(home, config(name), "digest")
    request = store.ask()
    assert request is not None
    records, number, now = TrialRecords(home.study(name)), request.number, time.time()
    records.create_folder(request)
    home.study(name).sweep.write_text(config(name).to_yaml())
    metrics = {"loss": 0.5, "accuracy": 0.5, "val_loss": 0.5, "val_accuracy": accuracy}
    records.append(number, Started(now, 1, 0, 1, 10, DATA, {}))
    records.append(number, EpochEnded(now, 1, metrics, 1.0, 1, accuracy))
    records.append(number, Finished(now, "epochs", 1, metrics, 10, 1.0))
    store.report(number, 1, accuracy)
    store.tell(number, State.COMPLETE, accuracy, events.summary(records.read(number), accuracy, ""))
    records.append(number, AttemptEnded(now, "COMPLETE"))
    return number


def identity(home: Home, name: str) -> str:
    return StudyStore.open(home, config(name), "digest").identity


def send(home: Home, name: str, number: int = 0) -> str:
    """Sends a trial's events; returns its run."""
    run_id = Projection.open(home, name, identity(home, name)).replay(number)
    assert run_id is not None
    return run_id


def client(address: str) -> Any:
    return import_mlflow().MlflowClient(tracking_uri=address, registry_uri=address)


def runs(address: str, name: str) -> dict[str, Any]:
    """Returns the active runs of a study's experiment, by id."""
    experiment = client(address).get_experiment_by_name(name)
    found = client(address).search_runs([experiment.experiment_id]) if experiment is not None else []
    return {run.info.run_id: run for run in found}


def accuracies(address: str, name: str) -> list[float]:
    """Returns the accuracies of the active runs of a study's experiment."""
    return sorted(run.data.metrics["val_accuracy"] for run in runs(address, name).values())


MODEL = """
import mlflow


class Echo(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: list[str], params=None) -> list[str]:
        return model_input


mlflow.models.set_model(Echo())
"""


def write_model(folder: Path, bundle: Path, logged: Any) -> None:
    """Writes a model that needs no TensorFlow."""
    mlflow = import_mlflow()
    code = folder.parent / "echo_model.py"
    code.write_text(MODEL)
    model = mlflow.models.Model(model_uuid=logged.model_id, run_id=logged.source_run_id, model_id=logged.model_id)
    mlflow.pyfunc.save_model(
        str(folder), python_model=str(code), artifacts={"bundle": str(bundle)}, pip_requirements=[], mlflow_model=model
    )


def a_bundle(folder: Path) -> Path:
    """Returns a folder that stands for a bundle."""
    bundle = folder / "bundle"
    bundle.mkdir(exist_ok=True)
    (bundle / "bundle.json").write_text("{}")
    return bundle


def record(home: Home, name: str, bundle: Path) -> str | None:
    """Writes the study's own run, and logs its best model; returns what `best_model.log` does."""
    study = view(home, name)
    assert study.best is not None
    pages = Projection.open(home, name, study.identity).pages
    pages.describe(pages.write_run([], {"best_val_accuracy": study.best.value or 0.0}, 1.0, 2.0), "", ["An answer."])
    pages.mark_best(study.ranked)
    return best_model.log(home, study, study.best, bundle, write_model)
