"""Deleting a study for good: its runs, its trials, its files. The data sets' cache stays."""

import shutil

from rnnexp.home import Home
from rnnexp.storage.database import delete_study
from rnnexp.storage.study_lock import hold_study_lock
from rnnexp.tracking.experiments import delete_experiment


def delete(home: Home, study: str) -> None:
    """Deletes MLflow's record first and Optuna's last; what fails or is killed in between can be begun again.

    A marker in the study's folder says that its deletion has begun; it is the last thing that goes.

    Raises:
        StudyError: if the study is being run.
    """
    folder = home.study(study)
    with hold_study_lock(folder.lock, study):
        folder.deleted.touch()
        if home.tracking_server is not None or home.mlflow_db.exists():
            delete_experiment(home, study)
        shutil.rmtree(home.experiment_artifacts(study), ignore_errors=True)
        delete_study(home, study)
        for path in folder.root.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
        shutil.rmtree(folder.root, ignore_errors=True)
