"""Deletes a study permanently: its MLflow runs, its Optuna trials and its files. Cached data sets are kept."""

import shutil

from rnnexp.home import Home
from rnnexp.storage.database import delete_study
from rnnexp.storage.study_lock import hold_study_lock
from rnnexp.tracking.experiments import delete_experiment


def delete(home: Home, study: str) -> None:
    """Deletes the study from MLflow, then from Optuna, then its folder.

    A marker file in the study's folder records that the deletion has started, and is removed last. A deletion that
    failed or was killed can therefore be started again.

    Raises:
        StudyError: if the study is running.
    """
    with hold_study_lock(home.study(study).lock, study):
        delete_locked(home, study)


def delete_locked(home: Home, study: str) -> None:
    """Deletes the study as `delete` does. The caller holds the study's lock."""
    folder = home.study(study)
    folder.deleted.touch()
    if home.tracking_server is not None or home.mlflow_db.exists():
        delete_experiment(home, study)
    shutil.rmtree(home.experiment_artifacts(study), ignore_errors=True)
    delete_study(home, study)
    for path in folder.root.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(folder.root, ignore_errors=True)
