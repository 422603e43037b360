"""What a start of a study does first: it completes what the last supervisor could not complete before it died."""

from rnnexp.storage.store import StudyStore
from rnnexp.storage.trial_values import FinishedTrial
from rnnexp.study.clock import Clock
from rnnexp.study.failures import FailureKind
from rnnexp.study.progress import ProgressReporter
from rnnexp.study.records import TrialRecords
from rnnexp.tracking.sender import Sender
from rnnexp.trial import events
from rnnexp.trial.states import State


def recover(
    store: StudyStore, records: TrialRecords, sender: Sender, reporter: ProgressReporter, clock: Clock
) -> list[FinishedTrial]:
    """Requeues stale trials, closes all open records, and notifies the sender of every trial, so MLflow catches up.

    Args:
        store: the study in Optuna; the caller holds its lock, so no RUNNING trial has a supervisor.
        records: the folders of its trials.
        sender: is notified of each trial.
        reporter: shows which trials resume.
        clock: the time of the closing events.

    Returns:
        The finished trials.
    """

    def close_record(number: int, state: State, reason: str, attempts: int) -> None:
        records.close(number, state, reason, attempts, clock.time())
        sender.notify(number)

    for number in store.requeue_running():
        if number not in store.paused.reasons:
            reporter.note(f"trial {number} was interrupted; it resumes from its last epoch")
    for number in store.waiting:
        curve = events.epochs(records.read(number))
        store.paused.restore_reports(number, {epoch.epoch: epoch.best_value for epoch in curve})
        close_record(number, State.WAITING, store.paused.reasons.get(number, FailureKind.SUPERVISOR_LOST), 0)
    finished = store.finished()
    for trial in finished:
        close_record(trial.number, trial.state, trial.reason, trial.attempts)
    return finished
