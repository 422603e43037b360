"""Compares Optuna with the trials' events: RUNNING trials without a supervisor, and incomplete events."""

import time
from collections.abc import Iterator

from rnnexp.health import history, studies
from rnnexp.health.finding import Finding
from rnnexp.health.studies import Observation, TrialSnapshot
from rnnexp.home import Home
from rnnexp.storage import database, metadata
from rnnexp.storage.store import requeue_running_trials
from rnnexp.study.failures import FailureKind
from rnnexp.trial import events
from rnnexp.trial.cursor import Cursor
from rnnexp.trial.events import AttemptEnded
from rnnexp.trial.states import FINISHED, State

CHECK = "trials"


def check(observed: Observation) -> Iterator[Finding]:
    """Checks every trial of the studies that no supervisor runs."""
    home = observed.home
    mlflow = history.MlflowHistory(home)
    for snapshot in observed.idle_trials():
        if snapshot.state is State.RUNNING:
            what = "it is RUNNING in Optuna, but no supervisor runs it"
            fix = studies.with_study_lock(home, snapshot.study, lambda snapshot=snapshot: _requeue(home, snapshot))  # type: ignore[misc]
            yield Finding(CHECK, snapshot.where, what, "it is set back to WAITING; the next start resumes it", fix)
        elif snapshot.state in FINISHED:
            yield from _check_finished(home, snapshot, mlflow)
        else:
            yield from _check_waiting(home, snapshot)


def _requeue(home: Home, snapshot: TrialSnapshot) -> str:
    requeue_running_trials(database.load_study(home, snapshot.study))
    records = studies.records(home, snapshot.study)
    reason = _pause_reason(snapshot) or FailureKind.SUPERVISOR_LOST
    records.close(snapshot.number, State.WAITING, reason, 0, time.time())
    return "set back to WAITING"


def _pause_reason(snapshot: TrialSnapshot) -> str:
    """Returns why Optuna has the trial as paused; empty if it is not."""
    return snapshot.trial.user_attrs.get(metadata.PAUSED) or ""


def _check_finished(home: Home, snapshot: TrialSnapshot, mlflow: history.MlflowHistory) -> Iterator[Finding]:
    missing = history.missing(snapshot)
    if missing:
        try:
            restored = history.restored(snapshot, mlflow)
        except history.UnavailableError as error:
            what = f"its events lack {missing}; whether MLflow has it is not known: {error}"
            yield Finding(CHECK, snapshot.where, what)
            return
        if restored is None:
            yield _lost(home, snapshot, missing)
            return
        what = f"its events lack {missing}"
        fix = studies.with_study_lock(home, snapshot.study, lambda: history.write(snapshot, restored))
        yield Finding(CHECK, snapshot.where, what, "they are restored from Optuna and MLflow", fix)
    elif not events.is_closed(snapshot.events, snapshot.state):
        what = f"it is {snapshot.state} in Optuna, but its events have no closing event of that state"
        fix = studies.with_study_lock(home, snapshot.study, lambda: _close(home, snapshot))
        yield Finding(CHECK, snapshot.where, what, "the closing event is added", fix)


def _lost(home: Home, snapshot: TrialSnapshot, missing: str) -> Finding:
    """Returns the finding for events that cannot be restored.

    MLflow may have more of the trial than the events that are left. The repair therefore sends MLflow nothing.
    """
    what = f"its events lack {missing}, and MLflow does not have all of it: that part of its curve is lost"
    cursor = Cursor.load(snapshot.folder.tracking)
    if events.is_closed(snapshot.events, snapshot.state) and cursor.sent == len(snapshot.events):
        return Finding(CHECK, snapshot.where, what)

    def fix() -> str:
        if not events.is_closed(snapshot.events, snapshot.state):
            _close(home, snapshot)
        n_events = len(events.read(snapshot.folder.events))
        Cursor(cursor.run_id, n_events, cursor.store).save(snapshot.folder.tracking)
        return "the incomplete events are closed"

    repair = "the incomplete events are closed, and MLflow keeps what it has"
    return Finding(CHECK, snapshot.where, what, repair, studies.with_study_lock(home, snapshot.study, fix))


def _close(home: Home, snapshot: TrialSnapshot) -> str:
    attributes, records = snapshot.trial.user_attrs, studies.records(home, snapshot.study)
    reason, attempts = attributes.get(metadata.SUMMARY, {}).get("reason") or "", attributes.get(metadata.ATTEMPTS, 1)
    if snapshot.events:
        records.close(snapshot.number, snapshot.state, reason, attempts, time.time())
    else:
        records.append(snapshot.number, AttemptEnded(time.time(), snapshot.state, reason, attempts))
    return "the closing event is added"


def _check_waiting(home: Home, snapshot: TrialSnapshot) -> Iterator[Finding]:
    """A trial that resumes from a checkpoint needs the events of the epochs before it, and a paused one its closing."""
    reason = _pause_reason(snapshot)
    if reason and not events.is_closed(snapshot.events, State.WAITING):
        what = "it is paused in Optuna, but its events have no closing event"
        fix = studies.with_study_lock(home, snapshot.study, lambda: _close_paused(home, snapshot, reason))
        yield Finding(CHECK, snapshot.where, what, "the closing event is added", fix)
    missing = history.missing(snapshot)
    if missing and snapshot.folder.state.exists():
        what = f"its events lack {missing}, which it needs to resume from its checkpoint"
        repair = "the checkpoint is removed: the trial starts from the beginning, to the same result"
        fix = studies.with_study_lock(home, snapshot.study, lambda: discard_checkpoint(snapshot))
        yield Finding(CHECK, snapshot.where, what, repair, fix)


def _close_paused(home: Home, snapshot: TrialSnapshot, reason: str) -> str:
    studies.records(home, snapshot.study).close(snapshot.number, State.WAITING, reason, 0, time.time())
    return "the closing event is added"


def discard_checkpoint(snapshot: TrialSnapshot) -> str:
    """Removes the checkpoint of a waiting trial. Trained from the beginning, the trial has the same result."""
    snapshot.folder.state.unlink(missing_ok=True)
    snapshot.folder.best.unlink(missing_ok=True)
    snapshot.folder.held_out.unlink(missing_ok=True)
    return "the checkpoint is removed; the trial starts from the beginning"
