"""Writes one event of a trial into its run: values through a batch, files and the run's status directly."""

import contextlib
from collections.abc import Callable
from typing import Any

from rnnexp.config.files import load_mapping
from rnnexp.home import TrialFolder
from rnnexp.tracking import payload
from rnnexp.tracking.artifacts import delete_artifacts
from rnnexp.tracking.descriptions import StudyText, run_name
from rnnexp.tracking.run_batch import RunBatch, to_ms
from rnnexp.tracking.runs import StudyRuns
from rnnexp.trial import events
from rnnexp.trial.events import AttemptEnded, EpochEnded, Event, Evicted, Failed, Finished, Started
from rnnexp.trial.states import RUN_STATUS, State

NO_STEP = 0
"""The step of a metric with one value. MLflow draws it as a bar; any other step makes it a curve of one point."""


class EventWriter:
    """Writes the events of one study's trials."""

    def __init__(
        self,
        client: Any,
        runs: StudyRuns,
        study: str,
        text: StudyText,
        draw: Callable[[TrialFolder, str], None],
        *,
        is_shared: bool,
    ) -> None:
        """Args:
        client: MLflow's.
        runs: the study's.
        study: the study's name.
        text: what the runs' descriptions say about the study.
        draw: writes a trial's history and curves, given its folder and a title.
        is_shared: whether other machines read MLflow; then it also gets what they need to show and export a trial.
        """
        self._client, self._runs, self._study, self._text, self._draw = client, runs, study, text, draw
        self._is_shared = is_shared
        self._settings: dict[int, dict[str, Any]] = {}

    def write(self, run_id: str, folder: TrialFolder, event: Event, when_ms: int, batch: RunBatch) -> None:
        """Writes one event. Writing it again changes nothing.

        Args:
            run_id: the trial's run.
            folder: the trial's folder.
            event: one of the trial's events.
            when_ms: the time of metrics that have one value; it is later than that of all earlier events.
            batch: receives what the caller sends.
        """
        if isinstance(event, Started):
            self._write_start(run_id, folder, event, batch)
        elif isinstance(event, EpochEnded):
            batch.metrics(event.metrics | event.measured, to_ms(event.time), event.epoch)
        elif isinstance(event, Finished):
            batch.metrics(payload.result_metrics(event), when_ms, NO_STEP)
        elif isinstance(event, Failed):
            batch.tags({"rnnexp.reason": f"{event.kind}: {event.reason}"})
            if event.traceback:
                self._client.log_text(run_id, event.traceback, "traceback.txt")
        elif isinstance(event, AttemptEnded):
            self._write_end(run_id, folder, event, when_ms, batch)
        elif isinstance(event, Evicted):
            delete_artifacts(self._client, run_id, "checkpoints")
            batch.tags({"rnnexp.checkpoint": "evicted"})

    def _write_start(self, run_id: str, folder: TrialFolder, event: Started, batch: RunBatch) -> None:
        name = run_name(_number(folder), self._settings_of(folder))
        self._client.update_run(run_id, status="RUNNING", name=name)
        self._write_settings(run_id, folder, batch)
        self._client.log_inputs(run_id, datasets=payload.dataset_inputs(event.data))
        batch.tags(payload.start_tags(event))

    def _write_settings(self, run_id: str, folder: TrialFolder, batch: RunBatch) -> None:
        batch.params(self._settings_of(folder))
        self._client.log_artifact(run_id, str(folder.config))

    def _settings_of(self, folder: TrialFolder) -> dict[str, Any]:
        """Returns a trial's settings by their dotted names; they are read once."""
        number = _number(folder)
        if number not in self._settings:
            self._settings[number] = payload.setting_params(load_mapping(folder.config))
        return self._settings[number]

    def _write_end(self, run_id: str, folder: TrialFolder, event: AttemptEnded, when_ms: int, batch: RunBatch) -> None:
        state, trial_events, number = State(event.state), events.read(folder.events), _number(folder)
        is_paused = event.state == State.WAITING and event.reason.startswith(events.PAUSED)
        if not is_paused:  # its files are sent once it has ended
            with contextlib.suppress(Exception):  # the record is sent even if the curves cannot be drawn
                self._draw(folder, f"{self._study} · trial {number}")
        if not any(isinstance(one, Started) for one in trial_events) and folder.config.exists():
            self._write_settings(run_id, folder, batch)  # the trial failed before its process started
        if not any(isinstance(one, Finished) for one in trial_events):
            result = payload.partial_result(trial_events, event)
            if result is not None:
                batch.metrics(payload.result_metrics(result), when_ms, NO_STEP)
        if not is_paused:
            self._write_files(run_id, folder, state)
        settings = self._settings_of(folder) if folder.config.exists() else {}
        batch.tags(payload.end_tags(number, event, trial_events, settings, self._text, folder.log))
        self._settings.pop(number, None)
        batch.send(self._client, run_id)
        # The latest time of all events: the duration is not negative even if the clock was set back.
        end_ms = to_ms(max(one.time for one in trial_events))
        self._client.set_terminated(run_id, RUN_STATUS[state], end_time=end_ms)
        tags = self._runs.delete_duplicates(run_id, number)
        if not event.reason and "rnnexp.reason" in tags:
            self._client.delete_tag(run_id, "rnnexp.reason")  # an earlier attempt's

    def _write_files(self, run_id: str, folder: TrialFolder, state: State) -> None:
        shared = (folder.events,) if self._is_shared else ()
        for path in (folder.history, folder.curves, folder.log, *shared):
            if path.exists():
                self._client.log_artifact(run_id, str(path))
        if state is State.FAIL:
            # An earlier attempt may have logged a model. No model of a failed trial is kept.
            delete_artifacts(self._client, run_id, "checkpoints")
        elif folder.best.exists():
            with contextlib.suppress(FileNotFoundError):  # it was evicted in the meantime; the next event records that
                for path in (folder.best, *((folder.held_out,) if self._is_shared else ())):
                    self._client.log_artifact(run_id, str(path), folder.best.parent.name)


def _number(folder: TrialFolder) -> int:
    return int(folder.root.name)
