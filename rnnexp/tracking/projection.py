"""A trial's events, replayed into its MLflow run.

The replay is idempotent: the run is looked for by its tags before one is created, metrics carry the events' own times,
and a cursor beside the events says how many were sent. So live logging, catching up after an outage and repair are one
and the same code. Explicit run ids only: MLflow's notion of an active run is never used.
"""

import contextlib
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rnnexp.config.files import load_mapping
from rnnexp.home import Home, StudyFolder, TrialFolder
from rnnexp.storage import sqlite
from rnnexp.storage.database import creating
from rnnexp.tracking.run_batch import RunBatch
from rnnexp.tracking.sender import RefusedError
from rnnexp.trial import events, history
from rnnexp.trial.cursor import OWN, Cursor
from rnnexp.trial.events import AttemptEnded, EpochEnded, Event, Evicted, Failed, Finished, Started
from rnnexp.trial.states import RUN_STATUS, State

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
}

_REFUSALS = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE")
_TRIAL = "rnnexp.trial"
_NOTE, _TAIL = "mlflow.note.content", 20
_NO_STEP = 0
"""A single number of a run; MLflow draws it as a bar, where another step would make it a curve of one point."""


class MovedError(Exception):
    """The home was moved or copied, and MLflow's database still names the old place."""


def import_mlflow() -> Any:
    """Imports MLflow as this program uses it: no telemetry, no chatter, no global state."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow

    for logger in ("mlflow", "alembic"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    return mlflow


def open_client(home: Home) -> Any:
    """Returns a client of the server that is named, else of the home's own database, which is created where needed."""
    mlflow = import_mlflow()
    if home.tracking_server is not None:
        return mlflow.MlflowClient(tracking_uri=home.tracking_uri)
    with creating(home):
        if not home.mlflow_db.exists():
            sqlite.use_wal(home.mlflow_db)
        sqlite.commit_without_waiting()
        client = mlflow.MlflowClient(tracking_uri=home.mlflow_uri)
        client.search_experiments(max_results=1)
    return client


class Projection:
    """One study's runs in MLflow."""

    def __init__(
        self,
        client: Any,
        experiment: str,
        store: str,
        folder: StudyFolder,
        study: str,
        identity: str,
        draw: Callable[[TrialFolder, str], None] = history.write,
        sync: Callable[[], None] = lambda: None,
    ) -> None:
        """Args:
        client: MLflow's.
        experiment: the study's, by id.
        store: which MLflow that is, for the cursors.
        folder: where the study's trials keep their events.
        study: its name.
        identity: tells it from an earlier study of that name, whose runs MLflow may still have.
        draw: writes a trial's history and picture, given its folder and a title.
        sync: brings what MLflow was told to the disk, before the cursor says that it was told.
        """
        self._client, self._experiment, self._store = client, experiment, store
        self._folder, self._study, self._identity = folder, study, identity
        self._draw, self._sync = draw, sync

    @classmethod
    def open(cls, home: Home, study: str, identity: str) -> "Projection":
        """Opens MLflow for one study, creating its experiment where there is none.

        Raises:
            MovedError: if the home's own database points to files elsewhere.
        """
        client = open_client(home)
        store = home.tracking_server or OWN

        def sync() -> None:
            if home.tracking_server is None:
                sqlite.sync(home.mlflow_db)

        return cls(client, _experiment(client, home, study), store, home.study(study), study, identity, sync=sync)

    def replay(self, number: int) -> str | None:
        """Sends what a trial's run does not have yet; returns the run's id, None for a trial without events.

        Raises:
            RefusedError: if MLflow will not have the record.
            Exception: whatever else MLflow raises; what was sent until then is remembered.
        """
        from mlflow.exceptions import MlflowException

        try:
            return self._replay(number)
        except MlflowException as error:
            if error.error_code in _REFUSALS:
                raise RefusedError(" ".join(str(error).split())[:160]) from None
            raise

    def resend(self, number: int) -> str | None:
        """Sends a trial's record anew, from its first event, into the run that it has.

        A run that was deleted in MLflow's pages is restored, its tags say again whose it is, and its doubles go.

        Raises:
            RefusedError: if MLflow will not have the record.
            Exception: whatever else MLflow raises.
        """
        folder = self._folder.trial(number)
        cursor = Cursor.load(folder.tracking)
        if cursor.run_id is not None and cursor.store == self._store:
            self._bring_back(cursor.run_id, number)
        Cursor(store=self._store).save(folder.tracking)
        run_id = self.replay(number)
        if run_id is not None:
            self._delete_doubles(run_id, number)
        return run_id

    def _bring_back(self, run_id: str, number: int) -> None:
        from mlflow.exceptions import MlflowException

        try:
            run = self._client.get_run(run_id)
        except MlflowException:
            return  # it is gone for good; another is made
        if run.info.experiment_id == self._experiment:
            if run.info.lifecycle_stage != "active":
                self._client.restore_run(run_id)
            batch = RunBatch()
            batch.tags(self._trial_tags(number) | {"rnnexp.study_id": self._identity})
            batch.send(self._client, run_id)

    def _delete_doubles(self, run_id: str, number: int) -> None:
        for double in self._runs(_TRIAL, str(number)):
            if double.info.run_id != run_id:
                self._client.delete_run(double.info.run_id)

    def _replay(self, number: int) -> str | None:
        folder = self._folder.trial(number)
        happened = events.read(folder.events)
        cursor = Cursor.load(folder.tracking)
        if cursor.store != self._store or cursor.sent > len(happened):
            cursor = Cursor(store=self._store)  # another MLflow, or other events: from the beginning
        if cursor.sent == len(happened):
            return cursor.run_id
        run_id = cursor.run_id or self._find_or_create(number, happened[0])
        batch = RunBatch()
        for index in range(cursor.sent, len(happened)):
            # Later than all before, whatever the clock did: of single numbers MLflow shows the one with the last time.
            when_ms = max(_ms(one.time) for one in happened[: index + 1]) + index
            self._send(run_id, folder, happened[index], when_ms, batch)
        batch.send(self._client, run_id)
        self._sync()
        Cursor(run_id, len(happened), self._store).save(folder.tracking)
        return run_id

    def _find_or_create(self, number: int, first: Event) -> str:
        return self._run(_TRIAL, str(number), f"trial-{number}", first.time)

    def _trial_tags(self, number: int) -> dict[str, str]:
        return {"rnnexp.study": self._study, _TRIAL: str(number)}

    def _runs(self, tag: str, value: str) -> list[Any]:
        # Each further tag costs MLflow a look at every run of the experiment; these two tell it from all others.
        wanted = f"tags.`{tag}` = '{value}' and tags.`rnnexp.study_id` = '{self._identity}'"
        return list(self._client.search_runs([self._experiment], filter_string=wanted))

    def _run(self, tag: str, value: str, name: str, began: float) -> str:
        found = self._runs(tag, value)
        if found:
            return str(found[-1].info.run_id)  # the oldest
        tags = {"rnnexp.study": self._study, tag: value, "rnnexp.study_id": self._identity}
        tags |= {"mlflow.source.name": "rnnexp", "mlflow.source.type": "LOCAL"}
        run = self._client.create_run(self._experiment, start_time=_ms(began), tags=tags, run_name=name)
        return str(run.info.run_id)

    def _send(self, run_id: str, folder: TrialFolder, event: Event, when_ms: int, batch: RunBatch) -> None:
        if isinstance(event, Started):
            self._started(run_id, folder, event, batch)
        elif isinstance(event, EpochEnded):
            batch.metrics(event.metrics, _ms(event.time), event.epoch)
        elif isinstance(event, Finished):
            _result(event, when_ms, batch)
        elif isinstance(event, Failed):
            batch.tags({"rnnexp.reason": f"{event.kind}: {event.reason}"})
            if event.traceback:
                self._client.log_text(run_id, event.traceback, "traceback.txt")
        elif isinstance(event, AttemptEnded):
            self._closed(run_id, folder, event, when_ms, batch)
        elif isinstance(event, Evicted):
            self._delete_artifacts(run_id, "checkpoints")
            batch.tags({"rnnexp.checkpoint": "evicted"})

    def _started(self, run_id: str, folder: TrialFolder, event: Started, batch: RunBatch) -> None:
        self._client.update_run(run_id, status="RUNNING")
        self._settings(run_id, folder, batch)
        self._client.log_inputs(run_id, datasets=_datasets(event.data))
        tags = {
            "rnnexp.state": State.RUNNING,
            "rnnexp.attempts": str(event.attempt),
            "rnnexp.data": event.data["name"],
            "rnnexp.plan": json.dumps(event.plan),
        }
        batch.tags(tags)

    def _settings(self, run_id: str, folder: TrialFolder, batch: RunBatch) -> None:
        sections = load_mapping(folder.config).items()
        batch.params({f"{section}.{key}": value for section, values in sections for key, value in values.items()})
        self._client.log_artifact(run_id, str(folder.config))

    def _closed(self, run_id: str, folder: TrialFolder, event: AttemptEnded, when_ms: int, batch: RunBatch) -> None:
        state, happened, number = State(event.state), events.read(folder.events), int(folder.root.name)
        with contextlib.suppress(Exception):  # a picture that cannot be drawn holds up no record
            self._draw(folder, f"{self._study} · trial {number}")
        if not any(isinstance(one, Started) for one in happened) and folder.config.exists():
            self._settings(run_id, folder, batch)  # it failed before its process began
        if not any(isinstance(one, Finished) for one in happened):
            _result_so_far(happened, event, when_ms, batch)
        for path in (folder.history, folder.curves, folder.log):
            if path.exists():
                self._client.log_artifact(run_id, str(path))
        if state is State.FAIL:
            self._delete_artifacts(run_id, "checkpoints")  # an earlier attempt's; no model of a failed trial is kept
        elif folder.best.exists():
            with contextlib.suppress(FileNotFoundError):  # evicted meanwhile; that event follows
                self._client.log_artifact(run_id, str(folder.best), folder.best.parent.name)
        tags = {"rnnexp.state": str(state), "rnnexp.attempts": str(event.attempts)}
        if event.reason:
            tags["rnnexp.reason"] = event.reason
            if state is State.FAIL:
                tags[_NOTE] = _note(event.reason, happened, folder)
        batch.tags(tags)
        batch.send(self._client, run_id)
        # A clock that was set back meanwhile gives no run a negative duration.
        self._client.set_terminated(run_id, RUN_STATUS[state], end_time=_ms(max(one.time for one in happened)))
        for run in self._runs(_TRIAL, str(number)):
            if run.info.run_id != run_id:
                self._client.delete_run(run.info.run_id)  # a slow server created it after it had been given up
            elif not event.reason and "rnnexp.reason" in run.data.tags:
                self._client.delete_tag(run_id, "rnnexp.reason")  # an earlier attempt's

    def _delete_artifacts(self, run_id: str, path: str) -> None:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        uri = self._client.get_run(run_id).info.artifact_uri
        repository = get_artifact_repository(uri, tracking_uri=self._client.tracking_uri)
        if any(item.path == path for item in repository.list_artifacts()):
            repository.delete_artifacts(path)

    def log_study(self, files: list[Path], metrics: dict[str, float], began: float, ended: float) -> str:
        """Writes what concerns the whole study into the study's own run; returns its id."""
        run_id = self._run("rnnexp.kind", "study", f"study {self._study}", began)
        for path in files:
            self._client.log_artifact(run_id, str(path))
        batch = RunBatch()
        batch.metrics(metrics, _ms(ended), _NO_STEP)
        batch.send(self._client, run_id)
        self._client.set_terminated(run_id, "FINISHED", end_time=_ms(ended))
        return run_id


def _experiment(client: Any, home: Home, study: str) -> str:
    """Returns the id of the study's experiment; one that was deleted in MLflow's UI is restored."""
    found = client.get_experiment_by_name(study)
    if found is None:
        if home.tracking_server is not None:
            return str(client.create_experiment(study))  # the server knows where it keeps files
        location = home.experiment_artifacts(study)
        location.mkdir(parents=True, exist_ok=True)
        return str(client.create_experiment(study, artifact_location=str(location)))
    if found.lifecycle_stage != "active":
        client.restore_experiment(found.experiment_id)
    if home.tracking_server is None and found.artifact_location != str(home.experiment_artifacts(study)):
        raise MovedError(
            f"{home.mlflow_db.name} keeps files at {found.artifact_location}, and this home is {home.root}; "
            f"`rnnexp doctor --repair --home {home.root}` mends it"
        )
    return str(found.experiment_id)


def _result(event: Finished, when_ms: int, batch: RunBatch) -> None:
    scalars = {f"best_{name}": value for name, value in event.metrics.items() if name.startswith("val_")}
    scalars |= {"best_epoch": event.best_epoch, "n_params": event.n_params, "train_seconds": event.train_seconds}
    batch.metrics(scalars, when_ms, _NO_STEP)


def _result_so_far(happened: list[Event], closed: AttemptEnded, when_ms: int, batch: RunBatch) -> None:
    """The scalars of a trial that was ended from outside, from its curve."""
    curve = events.epochs(happened)
    if curve:
        best = next((epoch for epoch in curve if epoch.epoch == curve[-1].best_epoch), curve[-1])
        n_params = next(one.n_params for one in happened if isinstance(one, Started))
        seconds = sum(epoch.seconds for epoch in curve)
        _result(Finished(closed.time, "pruned", best.epoch, best.metrics, n_params, seconds), when_ms, batch)


def _note(reason: str, happened: list[Event], folder: TrialFolder) -> str:
    """What MLflow shows at the head of a failed run's page: why, where, and the last it said."""
    said = (
        folder.log.read_bytes()[-4000:].decode("utf-8", "replace").splitlines()[-_TAIL:] if folder.log.exists() else []
    )
    traces = [event.traceback for event in happened if isinstance(event, Failed) and event.traceback]
    blocks = [("Traceback", traces[-1])] if traces else []
    blocks += [("The end of its log", "\n".join(said))] if said else []
    return "\n\n".join([f"**Failed:** {reason}", *(f"{title}:\n\n```\n{text.strip()}\n```" for title, text in blocks)])


def _datasets(data: dict[str, Any]) -> list[Any]:
    """The data set as MLflow's run page shows it: once as trained on, once as validated on."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = []
    for context, rows in (("training", data["n_train"]), ("validation", data["n_validation"])):
        profile = {"num_rows": rows, "labels": data["labels"], "split": data["split"]}
        inputs.append(
            DatasetInput(
                Dataset(
                    name=data["name"],
                    digest=f"{data['digest'][:16]}-{data['split'][:8]}-{context[:5]}",
                    source_type="local",
                    source=json.dumps({"uri": data["source"]}),
                    profile=json.dumps(profile),
                ),
                tags=[InputTag("mlflow.data.context", context)],
            )
        )
    return inputs


def _ms(seconds: float) -> int:
    return int(seconds * 1000)
