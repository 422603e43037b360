"""Replays a trial's events into its MLflow run.

The replay is idempotent: a run is searched by its tags before one is created, metrics carry the events' own times, and
a cursor beside the events stores how many were sent. Live logging, catching up after an outage and repair therefore
use the same code.
"""

from collections.abc import Callable
from typing import Any

from rnnexp import addresses, home_id
from rnnexp.home import Home, StudyFolder, TrialFolder
from rnnexp.storage import sqlite
from rnnexp.tracking.client import IN_USE, open_client, open_experiment
from rnnexp.tracking.descriptions import StudyText
from rnnexp.tracking.event_writer import EventWriter
from rnnexp.tracking.ownership import Ownership
from rnnexp.tracking.run_batch import RunBatch, to_ms
from rnnexp.tracking.runs import StudyRuns
from rnnexp.tracking.sender import RefusedError
from rnnexp.tracking.study_pages import StudyPages
from rnnexp.trial import events, history
from rnnexp.trial.cursor import OWN, Cursor

_REFUSALS = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE")


class Projection:
    """The record of one study in MLflow: a run for each trial.

    Attributes:
        pages: of the study as a whole.
    """

    def __init__(
        self,
        client: Any,
        experiment: str,
        folder: StudyFolder,
        ownership: Ownership,
        draw: Callable[[TrialFolder, str], None] = history.write,
        sync: Callable[[], None] = lambda: None,
    ) -> None:
        """Args:
        client: MLflow's.
        experiment: the id of the study's experiment.
        folder: the study's folder; its trials' folders contain the events.
        ownership: identifies this MLflow, and the study's runs in it.
        draw: writes a trial's history and curves, given its folder and a title.
        sync: flushes MLflow's database to disk; called before a cursor is saved.
        """
        self._client, self._folder, self._ownership, self._sync = client, folder, ownership, sync
        self._runs = StudyRuns(client, experiment, ownership)
        text = StudyText.of(folder)
        self.pages = StudyPages(client, experiment, self._runs, ownership.study, text)
        self._writer = EventWriter(client, self._runs, ownership.study, text, draw, is_shared=ownership.store != OWN)

    @classmethod
    def open(cls, home: Home, study: str, identity: str) -> "Projection":
        """Opens MLflow for one study; creates its experiment if it does not exist.

        Raises:
            MovedError: if the home's own database stores the experiment's files outside this home.
            ExperimentError: if the study's name is that of MLflow's default experiment.
            LocalPathError: if a server stores the experiment's files in a local path.
        """

        def sync() -> None:
            if home.tracking_server is None:
                sqlite.sync(home.mlflow_db)

        home_id.claim(home)
        with IN_USE:
            client = open_client(home)
            experiment = open_experiment(client, home, study)
        return cls(client, experiment, home.study(study), Ownership.of(home, study, identity), sync=sync)

    def replay(self, number: int) -> str | None:
        """Sends the events that a trial's run does not have yet.

        Returns:
            The run's id; None if the trial has no events.

        Raises:
            RefusedError: if MLflow rejects the record.
            Exception: any other error of MLflow; the next replay continues from the cursor.
        """
        with IN_USE:
            from mlflow.exceptions import MlflowException

            try:
                return self._replay(number)
            except MlflowException as error:
                if error.error_code in _REFUSALS:
                    raise RefusedError(addresses.one_line(error)) from None
                raise

    def resend(self, number: int) -> str | None:
        """Sends all events of a trial again, into its existing run.

        A run that was deleted in MLflow's UI is restored, its identifying tags are set again, and duplicates are
        deleted.

        Raises:
            RefusedError: if MLflow rejects the record.
            Exception: any other error of MLflow.
        """
        folder = self._folder.trial(number)
        cursor = Cursor.load(folder.tracking)
        if cursor.run_id is not None and self._ownership.counts(cursor):
            self._runs.restore(cursor.run_id, number)
        self._cursor().save(folder.tracking)
        run_id = self.replay(number)
        if run_id is not None:
            self._runs.delete_duplicates(run_id, number)
        return run_id

    def _replay(self, number: int) -> str | None:
        folder = self._folder.trial(number)
        trial_events = events.read(folder.events)
        cursor = self._claimed(Cursor.load(folder.tracking), folder)
        if cursor.sent > len(trial_events):
            cursor = self._cursor()  # it is of other events: send everything
        if cursor.sent == len(trial_events):
            return cursor.run_id
        run_id = cursor.run_id or self._runs.find_or_create_trial_run(number, trial_events[0].time)
        batch = RunBatch()
        for index in range(cursor.sent, len(trial_events)):
            # Later than all earlier times, even if the clock was set back: of a metric with one value MLflow shows the
            # value with the latest time.
            when_ms = max(to_ms(event.time) for event in trial_events[: index + 1]) + index
            self._writer.write(run_id, folder, trial_events[index], when_ms, batch)
        batch.send(self._client, run_id)
        self._sync()
        self._cursor(run_id, len(trial_events)).save(folder.tracking)
        return run_id

    def _cursor(self, run_id: str | None = None, sent: int = 0) -> Cursor:
        return Cursor(run_id, sent, self._ownership.store, self._ownership.home.value)

    def _claimed(self, cursor: Cursor, folder: TrialFolder) -> Cursor:
        """Returns a trial's cursor; an empty one if it is of another MLflow or of another home.

        On a server, the run of a cursor that an earlier version wrote gets the home's tag.
        """
        if not self._ownership.counts(cursor):
            return self._cursor()
        if self._ownership.store == OWN or cursor.home or cursor.run_id is None:
            return cursor
        if not self._runs.claim(cursor.run_id):
            return self._cursor()
        claimed = self._cursor(cursor.run_id, cursor.sent)
        claimed.save(folder.tracking)
        return claimed
