"""Finds, creates, restores and deletes the runs of one study, and deletes artifacts of a run.

A run is identified by two tags: the study's identity, and the trial's number (or that it is the study's own run). Run
ids are always explicit: MLflow's active run is never used.
"""

import shutil
from collections.abc import Mapping
from typing import Any

from rnnexp.tracking.paths import local_path
from rnnexp.tracking.run_batch import RunBatch, to_ms

_STUDY, _STUDY_ID, _TRIAL = "rnnexp.study", "rnnexp.study_id", "rnnexp.trial"


class StudyRuns:
    """The runs of one study in MLflow."""

    def __init__(self, client: Any, experiment: str, study: str, identity: str) -> None:
        """Args:
        client: MLflow's.
        experiment: the id of the study's experiment.
        study: the study's name.
        identity: distinguishes the study from a deleted study of the same name, whose runs MLflow may still have.
        """
        self._client, self._experiment, self._study, self._identity = client, experiment, study, identity

    def find_or_create_trial_run(self, number: int, began: float) -> str:
        """Returns the id of a trial's run; `began` is in seconds since 1970."""
        return self._find_or_create(_TRIAL, str(number), f"trial-{number}", began)

    def find_or_create_study_run(self, began: float) -> str:
        """Returns the id of the study's own run; `began` is in seconds since 1970."""
        return self._find_or_create("rnnexp.kind", "study", f"study {self._study}", began)

    def restore(self, run_id: str, number: int) -> None:
        """Restores a trial's run that was deleted in MLflow's UI, and the tags that identify it."""
        from mlflow.exceptions import MlflowException

        try:
            run = self._client.get_run(run_id)
        except MlflowException:
            return  # the run no longer exists; the replay creates another one
        if run.info.experiment_id == self._experiment:
            if run.info.lifecycle_stage != "active":
                self._client.restore_run(run_id)
            batch = RunBatch()
            batch.tags({_STUDY: self._study, _TRIAL: str(number), _STUDY_ID: self._identity})
            batch.send(self._client, run_id)

    def delete_duplicates(self, run_id: str, number: int) -> Mapping[str, str]:
        """Deletes all runs of a trial but one; returns the tags of the one that is kept.

        A slow server may create a run after the sender has timed out and created another one.
        """
        tags: Mapping[str, str] = {}
        for run in self._find(_TRIAL, str(number)):
            if run.info.run_id != run_id:
                self._client.delete_run(run.info.run_id)
            else:
                tags = run.data.tags
        return tags

    def _find(self, tag: str, value: str) -> list[Any]:
        # With each further tag MLflow searches all runs of the experiment again; these two tags are sufficient.
        wanted = f"tags.`{tag}` = '{value}' and tags.`{_STUDY_ID}` = '{self._identity}'"
        return list(self._client.search_runs([self._experiment], filter_string=wanted))

    def _find_or_create(self, tag: str, value: str, name: str, began: float) -> str:
        found = self._find(tag, value)
        if found:
            return str(found[-1].info.run_id)  # the oldest
        tags = {_STUDY: self._study, tag: value, _STUDY_ID: self._identity}
        tags |= {"mlflow.source.name": "rnnexp", "mlflow.source.type": "LOCAL"}
        run = self._client.create_run(self._experiment, start_time=to_ms(began), tags=tags, run_name=name)
        return str(run.info.run_id)


def delete_artifacts(client: Any, run_id: str, path: str) -> None:
    """Deletes a folder of a run's artifacts, if it exists."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    uri = client.get_run(run_id).info.artifact_uri
    repository = get_artifact_repository(uri, tracking_uri=client.tracking_uri)
    if any(item.path == path for item in repository.list_artifacts()):
        folder = local_path(uri)
        if folder is not None and "%" in str(folder):
            shutil.rmtree(folder / path)  # MLflow would decode the path again, and look in another folder
        else:
            repository.delete_artifacts(path)
