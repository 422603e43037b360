"""Optuna against the trials' events: trials that nobody runs, records that end too early."""

import time
from collections.abc import Iterator

from rnnexp.health import history, studies
from rnnexp.health.finding import Finding
from rnnexp.health.studies import TrialSnapshot
from rnnexp.home import FORMER_SINGLE_RUNS, Home
from rnnexp.storage import database, metadata
from rnnexp.storage.store import requeue_running_trials
from rnnexp.study import retention
from rnnexp.study.failures import FailureKind
from rnnexp.study.records import is_closed, pending_result
from rnnexp.trial import events
from rnnexp.trial.cursor import Cursor
from rnnexp.trial.events import AttemptEnded
from rnnexp.trial.states import FINISHED, State

CHECK = "trials"


def check(home: Home) -> Iterator[Finding]:
    """Looks at every trial of the studies that nobody runs, and at single runs."""
    for seen in studies.everything(home):
        if seen.state is State.RUNNING:
            what = "it is RUNNING in Optuna, and nobody runs it"
            fix = studies.held(home, seen.study, lambda seen=seen: _take_over(home, seen))  # type: ignore[misc]
            yield Finding(CHECK, seen.where, what, "it is set back to WAITING; the next start goes on with it", fix)
        elif seen.state in FINISHED and seen.trial is not None:
            yield from _finished(home, seen)
        elif seen.trial is None:
            yield from _single(home, seen)
        else:
            yield from _waiting(home, seen)


def _take_over(home: Home, seen: TrialSnapshot) -> str:
    requeue_running_trials(database.load_study(home, seen.study))
    studies.records(home, seen.study).close(seen.number, State.WAITING, FailureKind.SUPERVISOR_LOST, 0, time.time())
    return "set back to WAITING"


def _finished(home: Home, seen: TrialSnapshot) -> Iterator[Finding]:
    missing = history.missing(seen)
    if missing:
        found = history.restored(home, seen)
        if found is None:
            yield _lost(home, seen, missing)
            return
        what = f"its events lack {missing}"
        fix = studies.held(home, seen.study, lambda: history.write(seen, found))
        yield Finding(CHECK, seen.where, what, "they are put back from Optuna and MLflow", fix)
    elif not is_closed(seen.happened, seen.state):
        what = f"it is {seen.state} in Optuna, and its events do not say so"
        fix = studies.held(home, seen.study, lambda: _close(home, seen))
        yield Finding(CHECK, seen.where, what, "the closing event is added", fix)


def _lost(home: Home, seen: TrialSnapshot, missing: str) -> Finding:
    """What stays wrong: nobody has it. MLflow may have more than is left, and is not to be told less."""
    what = f"its events lack {missing}, and MLflow does not have them whole: that part of its curve is lost"
    cursor = Cursor.load(seen.folder.tracking)
    if is_closed(seen.happened, seen.state) and cursor.sent == len(seen.happened):
        return Finding(CHECK, seen.where, what)

    def fix() -> str:
        if not is_closed(seen.happened, seen.state):
            _close(home, seen)
        n_events = len(events.read(seen.folder.events))
        Cursor(cursor.run_id, n_events, cursor.store).save(seen.folder.tracking)
        return "closed as it is"

    repair = "what is left is closed as it is, and MLflow keeps what it has"
    return Finding(CHECK, seen.where, what, repair, studies.held(home, seen.study, fix))


def _close(home: Home, seen: TrialSnapshot) -> str:
    assert seen.trial is not None
    reason = seen.trial.user_attrs.get(metadata.SUMMARY, {}).get("reason") or ""
    attempts, records = seen.trial.user_attrs.get(metadata.ATTEMPTS, 1), studies.records(home, seen.study)
    if seen.happened:
        records.close(seen.number, seen.state, reason, attempts, time.time())
    else:
        records.append(seen.number, AttemptEnded(time.time(), seen.state, reason, attempts))
    return "the closing event is added"


def _single(home: Home, seen: TrialSnapshot) -> Iterator[Finding]:
    """A single run whose program was killed: nothing goes on with it."""
    if seen.happened and not is_closed(seen.happened, seen.state):
        what = "it was cut off, and its events do not say so"

        def fix() -> str:
            reason = (
                ""
                if seen.state is State.COMPLETE
                else getattr(pending_result(seen.happened), "reason", FailureKind.SUPERVISOR_LOST)
            )
            # Closed here: for `close` a pending result is for the next start to settle, and here is none.
            studies.records(home, FORMER_SINGLE_RUNS).append(seen.number, AttemptEnded(time.time(), seen.state, reason))
            retention.clean_up(seen.folder, keep_model=True)
            return "the closing event is added"

        yield Finding(CHECK, seen.where, what, "the closing event is added", fix)


def _waiting(home: Home, seen: TrialSnapshot) -> Iterator[Finding]:
    """A trial that goes on from a checkpoint needs the epochs before it in its events."""
    missing = history.missing(seen)
    if missing and seen.folder.state.exists():
        what = f"its events lack {missing}, which its checkpoint goes on from"
        fix = studies.held(home, seen.study, lambda: begin_anew(seen))
        yield Finding(CHECK, seen.where, what, "the checkpoint is removed: it begins anew, to the same result", fix)


def begin_anew(seen: TrialSnapshot) -> str:
    """Removes what a waiting trial would go on from; it comes to the same result from the beginning."""
    seen.folder.state.unlink(missing_ok=True)
    seen.folder.best.unlink(missing_ok=True)
    seen.folder.held_out.unlink(missing_ok=True)
    return "it begins anew when its turn comes"
