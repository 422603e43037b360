"""The files of a study's trials, as the supervisor reads and writes them."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import TypeGuard

from rnnexp import disk
from rnnexp.home import StudyFolder, TrialFolder
from rnnexp.storage.trial_values import TrialRequest
from rnnexp.study import retention
from rnnexp.study.failures import FAILURE_POLICY, FINAL_ACTIONS, FailureKind, parse_kind
from rnnexp.trial import checkpoint, events, folder_lock
from rnnexp.trial.events import AttemptEnded, EndReason, Event, Failed, Finished, Paused, Started
from rnnexp.trial.states import State

_SUPERVISOR_LOST = (FailureKind.SUPERVISOR_LOST, "cut off")
"""The reasons that mark a lost supervisor; the second one is in homes written before November 2026."""


class TrialRecords:
    """The folders of a study's trials."""

    def __init__(self, folder: StudyFolder, identity: str = "") -> None:
        """Args:
        folder: the study's.
        identity: the study's; events that another study wrote are not read. Empty to read all.
        """
        self.folder, self._identity = folder, identity

    @property
    def home(self) -> Path:
        """The folder that holds all state."""
        return self.folder.root.parent.parent

    def create_folder(self, request: TrialRequest) -> None:
        """Creates a trial's folder with its settings; first waits until an orphaned process has released it.

        A folder of another study's trial is renamed.
        """
        folder_lock.wait_for_lock_release(self.folder.trial(request.number))
        self._set_aside(self.folder.trial(request.number))
        disk.write_text(self.folder.trial(request.number).config, request.config.to_yaml())

    def read(self, number: int) -> list[Event]:
        """Returns the events of a trial."""
        return events.of_study(events.read(self.folder.trial(number).events), self._identity)

    def _set_aside(self, folder: TrialFolder) -> None:
        """Renames the folder if it has events of another study, so that they do not become results of this one."""
        everything = events.read(folder.events)
        if len(events.of_study(everything, self._identity)) != len(everything):
            names = (folder.root.with_name(f"{folder.root.name}.of-another-study-{n}") for n in itertools.count(1))
            folder.root.rename(next(path for path in names if not path.exists()))

    def pending_result(self, number: int, note: Callable[[str], None]) -> Finished | Failed | Paused | None:
        """Returns the result that a trial has written but that no supervisor has processed; None if there is none.

        A trial that was paused has `Paused` in place of a result. A result without its model is none: the trial is
        trained again, to the same result.

        Args:
            number: the trial's.
            note: receives a message to the user if the model is missing, damaged, or cannot be read.
        """
        result = pending_result(self.read(number))
        try:
            fault = checkpoint.model_fault(self.folder.trial(number)) if isinstance(result, Finished) else ""
        except OSError as error:
            fault = f"its model cannot be read ({error.strerror or error})"
        if fault:
            note(f"trial {number} had finished, but {fault}; it is trained again from the beginning")
            return None
        return result

    def fault_of_paused(self, number: int) -> str:
        """Returns why a paused trial cannot end with the result of its best epoch; empty if it can."""
        trial_events = self.read(number)
        if not events.epochs(trial_events) or not any(isinstance(event, Started) for event in trial_events):
            return "its record is incomplete"
        try:
            return checkpoint.model_fault(self.folder.trial(number))
        except OSError as error:
            return f"its model cannot be read ({error.strerror or error})"

    def result_of_paused(self, number: int, ended: EndReason, reason: str, when: float) -> Finished:
        """Returns the result of a trial that ends without a process, and appends it to the events.

        A result that a supervisor has appended before it died stays as it is.

        Args:
            number: the trial's; it has finished an epoch.
            ended: why it ends.
            reason: one line for the user.
            when: seconds since 1970.
        """
        trial_events = self.read(number)
        former = pending_result(trial_events)
        if isinstance(former, Finished):
            return former
        best = events.best_epoch(events.epochs(trial_events))
        n_params = next(event.n_params for event in trial_events if isinstance(event, Started))
        seconds = sum(epoch.seconds for epoch in events.epochs(trial_events))
        result = Finished(when, ended, best.epoch, best.metrics, n_params, seconds, reason)
        self.append(number, result)
        return result

    def has_trained(self, number: int, attempt: int) -> bool:
        """Tells whether an attempt of a trial has started to train."""
        return any(isinstance(event, Started) and event.attempt == attempt for event in self.read(number))

    def append(self, number: int, event: Event) -> None:
        """Appends an event to a trial's events."""
        events.append(self.folder.trial(number).events, event)

    def close(self, number: int, state: State, reason: str, attempts: int, when: float) -> None:
        """Completes the record of a trial whose supervisor died: adds the closing event, removes unneeded files.

        Args:
            number: the trial's.
            state: its state in Optuna.
            reason: one line.
            attempts: how often it was started; 0 to count the `Started` events.
            when: seconds since 1970.
        """
        trial_events = self.read(number)
        is_finished = state is not State.WAITING  # a finished trial has a record even if its process never started
        if (trial_events or is_finished) and not events.is_closed(trial_events, state):
            n_started = sum(isinstance(event, Started) for event in trial_events)
            self.append(number, AttemptEnded(when, state, reason, attempts or n_started))
        if is_finished:
            self.clean_up(number, keep_model=state is not State.FAIL)

    def clean_up(self, number: int, *, keep_model: bool) -> None:
        """Removes the files that a finished trial does not need."""
        retention.clean_up(self.folder.trial(number), keep_model=keep_model)

    def evict(self, number: int, when: float) -> bool:
        """Removes a trial's model unless it was exported; returns whether it was removed."""
        return retention.evict(self.folder.trial(number), when)

    def take_stop_requests(self) -> list[int]:
        """Returns the trials that the user asked to stop from another shell; returns each request once."""
        if not self.folder.stop_requests.is_dir():
            return []
        requests = list(self.folder.stop_requests.iterdir())
        for request in requests:
            request.unlink(missing_ok=True)
        return [int(request.name) for request in requests if request.name.isdigit()]

    def free_bytes(self) -> int:
        """Returns the free disk space."""
        return disk.free_bytes(self.folder.root)


def pending_result(trial_events: list[Event]) -> Finished | Failed | Paused | None:
    """Returns the result that the trial has written but that no supervisor has processed; None if there is none.

    The next supervisor (or the repair) closes the record with the reason "supervisor lost", or that of the pause if the
    trial is paused. After that, a result that ends the trial is still pending; a failure that allows a retry is not,
    because its retry may be counted already.
    """
    supervisor_lost = False
    for event in reversed(trial_events):
        if isinstance(event, Finished | Failed | Paused):
            return None if supervisor_lost and not is_terminal(event) else event
        if isinstance(event, AttemptEnded) and event.state == State.WAITING and _is_of_next_supervisor(event.reason):
            supervisor_lost = True
        elif isinstance(event, Started | AttemptEnded):
            return None
    return None


def _is_of_next_supervisor(reason: str) -> bool:
    """Tells whether the supervisor that gave this reason may have been the one after that of the attempt."""
    return reason in _SUPERVISOR_LOST or reason.startswith(events.PAUSED)


def is_terminal(result: Finished | Failed | Paused) -> TypeGuard[Finished | Failed]:
    """Tells whether a result ends the trial, so that it is never started again."""
    if isinstance(result, Paused):
        return False
    return isinstance(result, Finished) or FAILURE_POLICY[parse_kind(result.kind)].action in FINAL_ACTIONS
