"""Deletes a study's experiment in MLflow."""

from rnnexp.home import Home
from rnnexp.tracking.client import import_mlflow


def delete_experiment(home: Home, study: str) -> None:
    """Deletes the study's experiment and registered model.

    MLflow only marks an experiment as deleted. It is therefore renamed first, so that a new study can use the name.
    """
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
