"""Finds, creates, restores and deletes the runs of one study.

A run is identified by its tags: the study's identity, the home's, and the trial's number (or that it is the study's own
run). Run ids are always explicit: MLflow's active run is never used.
"""

from collections.abc import Mapping
from typing import Any

from rnnexp.tracking import provenance
from rnnexp.tracking.client import if_exists
from rnnexp.tracking.ownership import HOME, STUDY_ID, TRIAL, Ownership
from rnnexp.tracking.run_batch import RunBatch, to_ms


class StudyRuns:
    """The runs of one study in MLflow."""

    def __init__(self, client: Any, experiment: str, ownership: Ownership) -> None:
        """Args:
        client: MLflow's.
        experiment: the id of the study's experiment.
        ownership: identifies the study's runs; a server may have runs of other homes in the same experiment.
        """
        self._client, self._experiment, self._ownership = client, experiment, ownership

    def find_or_create_trial_run(self, number: int, began: float) -> str:
        """Returns the id of a trial's run; `began` is in seconds since 1970."""
        return self._find_or_create(TRIAL, str(number), str(number), began)

    def find_or_create_study_run(self, began: float) -> str:
        """Returns the id of the study's own run; `began` is in seconds since 1970."""
        return self._find_or_create("rnnexp.kind", "study", f"study {self._ownership.study}", began)

    def claim(self, run_id: str) -> bool:
        """Adds the home's tag to a run of an earlier version; returns False if the run belongs to another home."""
        tags = self._client.get_run(run_id).data.tags
        if not self._ownership.owns_named(tags):
            return False
        self._add_home(run_id, tags)
        return True

    def restore(self, run_id: str, number: int) -> None:
        """Restores a trial's run that was deleted in MLflow's UI, and the tags that identify it."""
        run = if_exists(lambda: self._client.get_run(run_id))
        if run is None:
            return  # the replay creates another one
        if run.info.experiment_id == self._experiment and self._ownership.owns_named(run.data.tags):
            if run.info.lifecycle_stage != "active":
                self._client.restore_run(run_id)
            batch = RunBatch()
            batch.tags(self._ownership.tags | {TRIAL: str(number)})
            batch.send(self._client, run_id)

    def delete_duplicates(self, run_id: str, number: int) -> Mapping[str, str]:
        """Deletes all runs of a trial but one; returns the tags of the one that is kept.

        A slow server may create a run after the sender has timed out and created another one.
        """
        tags: Mapping[str, str] = {}
        for run in self._find(TRIAL, str(number)):
            if run.info.run_id != run_id:
                self._client.delete_run(run.info.run_id)
            else:
                tags = run.data.tags
        return tags

    def with_tag(self, tag: str) -> list[str]:
        """Returns the ids of the study's runs that have a tag."""
        return [run.info.run_id for run in self._find(tag, "%", "LIKE")]

    def _find(self, tag: str, value: str, comparison: str = "=") -> list[Any]:
        # With each further tag MLflow searches all runs of the experiment again; the home's is therefore compared here.
        wanted = f"tags.`{tag}` {comparison} '{value}' and tags.`{STUDY_ID}` = '{self._ownership.identity}'"
        found = self._client.search_runs([self._experiment], filter_string=wanted)
        return [run for run in found if self._ownership.owns(run.data.tags)]

    def _find_or_create(self, tag: str, value: str, name: str, began: float) -> str:
        found = self._find(tag, value)
        if found:
            oldest = found[-1]
            self._add_home(oldest.info.run_id, oldest.data.tags)
            return str(oldest.info.run_id)
        tags = self._ownership.tags | {tag: value} | provenance.tags()
        run = self._client.create_run(self._experiment, start_time=to_ms(began), tags=tags, run_name=name)
        return str(run.info.run_id)

    def _add_home(self, run_id: str, tags: Mapping[str, str]) -> None:
        if HOME not in tags and self._ownership.home.value:
            self._client.set_tag(run_id, HOME, self._ownership.home.value)
