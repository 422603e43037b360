"""A study as a whole in MLflow: its own run with the report, the experiment's page, the marks of the best trials."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rnnexp.config.names import METRICS
from rnnexp.storage.views import TrialRow
from rnnexp.tracking.descriptions import (
    BEST_COLOR,
    COLOR,
    NOTE,
    PRUNED_COLOR,
    Outcome,
    StudyText,
    study_note,
    trial_note,
)
from rnnexp.tracking.event_writer import NO_STEP
from rnnexp.tracking.run_batch import RunBatch, to_ms
from rnnexp.tracking.runs import StudyRuns
from rnnexp.trial.states import State

N_RANKED = 10
"""So many of the best trials have their rank on their pages."""
_RANK = "rnnexp.rank"
_PRIMARY = "mlflow.experiment.primaryMetric"


class StudyPages:
    """What MLflow shows of a study besides its trials' runs."""

    def __init__(self, client: Any, experiment: str, runs: StudyRuns, study: str, text: StudyText) -> None:
        """Args:
        client: MLflow's.
        experiment: the id of the study's experiment.
        runs: the study's.
        study: its name.
        text: what is known of it.
        """
        self._client, self._experiment, self._runs, self._study, self._text = client, experiment, runs, study, text

    def write_run(self, files: Sequence[Path], metrics: Mapping[str, float], began: float, ended: float) -> str:
        """Writes files and metrics of the whole study into the study's own run.

        Args:
            files: become artifacts.
            metrics: by name.
            began: seconds since 1970.
            ended: seconds since 1970.

        Returns:
            The run's id.
        """
        run_id = self._runs.find_or_create_study_run(began)
        for path in files:
            self._client.log_artifact(run_id, str(path))
        batch = RunBatch()
        batch.metrics(metrics, to_ms(ended), NO_STEP)
        batch.send(self._client, run_id)
        self._client.set_terminated(run_id, "FINISHED", end_time=to_ms(ended))
        return run_id

    def describe(self, run_id: str, question: str, answer: Sequence[str]) -> None:
        """Writes the question and its answer on the pages of the experiment and of the study's own run.

        Args:
            run_id: of the study's own run.
            question: empty if there is none.
            answer: sentences.
        """
        note = study_note(question, answer, self._study)
        self._client.set_tag(run_id, NOTE, note)
        is_greater_better = METRICS.get(self._text.metric) == "maximize"
        tags = {
            NOTE: note,
            f"{_PRIMARY}.name": f"best_{self._text.metric}",
            f"{_PRIMARY}.greaterIsBetter": str(is_greater_better),
        }
        for name, value in tags.items():
            self._client.set_experiment_tag(self._experiment, name, value)

    def mark_best(self, ranked: Sequence[TrialRow]) -> None:
        """Writes their rank on the pages of the best trials and colors the best one; takes older marks away.

        Args:
            ranked: all trials with a value, best first, with their runs.
        """
        best = {row.run_id: place for place, row in enumerate(ranked[:N_RANKED], start=1) if row.run_id is not None}
        by_run = {row.run_id: row for row in ranked}
        for run_id in self._runs.with_tag(_RANK):
            if run_id not in best:
                self._client.delete_tag(run_id, _RANK)
                if run_id in by_run:
                    self._client.set_tag(run_id, NOTE, trial_note(self._outcome(by_run[run_id])))
            if best.get(run_id) != 1:
                self._remove_color(run_id, by_run.get(run_id))
        for run_id, place in best.items():
            batch = RunBatch()
            batch.tags({_RANK: place, NOTE: trial_note(self._outcome(by_run[run_id]), (place, len(ranked)))})
            batch.tags({COLOR: BEST_COLOR} if place == 1 else {})
            batch.send(self._client, run_id)

    def _remove_color(self, run_id: str, row: TrialRow | None) -> None:
        if row is not None and row.state is State.PRUNED:
            self._client.set_tag(run_id, COLOR, PRUNED_COLOR)
            return
        with contextlib.suppress(Exception):  # it has none
            self._client.delete_tag(run_id, COLOR)

    def _outcome(self, row: TrialRow) -> Outcome:
        return Outcome(
            row.state, row.reason or "", self._text.metric, row.value, row.best_epoch, row.duration_s, row.settings
        )
