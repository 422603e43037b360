"""Deleting a study for good: its runs, its trials, its files. The data sets' cache stays."""

import shutil

import optuna

from rnnexp.home import Home
from rnnexp.study.owner import owned
from rnnexp.study.store import open_storage, study_names
from rnnexp.study.tracking import import_mlflow


def delete(home: Home, study: str) -> None:
    """Deletes MLflow's record first and Optuna's last; what fails or is killed in between can be begun again.

    A marker in the study's folder says that its deletion has begun; it is the last thing that goes.

    Raises:
        StudyError: if the study is being run.
    """
    folder = home.study(study)
    with owned(folder.lock, study):
        folder.deleted.touch()
        if home.tracking_server is not None or home.mlflow_db.exists():
            _delete_experiment(home, study)
        shutil.rmtree(home.experiment_artifacts(study), ignore_errors=True)
        if study in study_names(home):
            optuna.delete_study(study_name=study, storage=open_storage(home))
        for path in folder.root.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
        shutil.rmtree(folder.root, ignore_errors=True)


def _delete_experiment(home: Home, study: str) -> None:
    """Deletes the experiment; MLflow only hides it, so its name is freed for a new study of that name."""
    mlflow = import_mlflow()
    client = mlflow.MlflowClient(tracking_uri=home.tracking_uri, registry_uri=home.tracking_uri)
    if any(model.name == study for model in client.search_registered_models()):
        client.delete_registered_model(study)
    experiment = client.get_experiment_by_name(study)
    if experiment is None:
        return
    if experiment.lifecycle_stage != "active":
        client.restore_experiment(experiment.experiment_id)  # only an active one can be renamed
    client.rename_experiment(experiment.experiment_id, f"{study} (deleted {experiment.experiment_id})")
    client.delete_experiment(experiment.experiment_id)
