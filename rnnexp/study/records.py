"""The trials' folders, as the supervisor reads and writes them; the one place where it touches files."""

from pathlib import Path

from rnnexp import disk
from rnnexp.home import StudyFolder
from rnnexp.storage.store import TrialRequest
from rnnexp.study import retention
from rnnexp.study.failures import FAILURE_POLICY, FailureAction, FailureKind
from rnnexp.trial import events, process
from rnnexp.trial.events import AttemptEnded, Event, Evicted, Failed, Finished, Started
from rnnexp.trial.states import State

_SUPERVISOR_LOST = (FailureKind.SUPERVISOR_LOST, "cut off")
"""The second is what homes written before November 2026 say."""


class TrialRecords:
    """The folders of one study's trials."""

    def __init__(self, folder: StudyFolder) -> None:
        self.folder = folder

    @property
    def home(self) -> Path:
        """The folder that holds all state."""
        return self.folder.root.parent.parent

    def begin(self, asked: TrialRequest) -> None:
        """Makes a trial's folder, with its settings, once no orphan of an earlier supervisor writes there any more."""
        process.wait_for_lock_release(self.folder.trial(asked.number))
        disk.write_text(self.folder.trial(asked.number).config, asked.config.to_yaml())

    def read(self, number: int) -> list[Event]:
        """Returns a trial's events."""
        return events.read(self.folder.trial(number).events)

    def append(self, number: int, event: Event) -> None:
        """Adds an event to a trial's."""
        events.append(self.folder.trial(number).events, event)

    def close(self, number: int, state: State, reason: str, attempts: int, when: float) -> None:
        """Adds the closing event that a dead supervisor did not come to write, and removes what it left.

        Args:
            number: the trial's.
            state: Optuna's.
            reason: one line.
            attempts: starts; 0 where they are to be counted.
            when: seconds since 1970.
        """
        happened = self.read(number)
        ended = state is not State.WAITING  # even one whose process never began has a record
        if (happened or ended) and not is_closed(happened, state):
            started = sum(isinstance(event, Started) for event in happened)
            self.append(number, AttemptEnded(when, state, reason, attempts or started))
        if ended:
            self.clean_up(number, keep_model=state is not State.FAIL)

    def clean_up(self, number: int, *, keep_model: bool) -> None:
        """Removes what a trial that has ended for good needs no more."""
        retention.clean_up(self.folder.trial(number), keep_model=keep_model)

    def evict(self, number: int, when: float) -> bool:
        """Removes a trial's model, unless it was exported; tells whether it did."""
        return retention.evict(self.folder.trial(number), when)

    def take_stop_requests(self) -> list[int]:
        """Returns the trials that another shell asks to stop; each request is heard once."""
        if not self.folder.stop_requests.is_dir():
            return []
        requests = list(self.folder.stop_requests.iterdir())
        for request in requests:
            request.unlink(missing_ok=True)
        return [int(request.name) for request in requests if request.name.isdigit()]

    def free_bytes(self) -> int:
        """Returns the space that is left."""
        return disk.free_bytes(self.folder.root)


def pending_result(happened: list[Event]) -> Finished | Failed | None:
    """Returns the result that a trial came to and that no supervisor lived to settle, or None.

    Whoever takes over closes the record as cut off; that settles no result that ends the trial.
    """
    taken_over = False
    for event in reversed(happened):
        if isinstance(event, Finished | Failed):
            return None if taken_over and not is_terminal(event) else event
        if isinstance(event, AttemptEnded) and event.state == State.WAITING and event.reason in _SUPERVISOR_LOST:
            taken_over = True
        elif isinstance(event, Started | AttemptEnded):
            return None
    return None


def fault_of(failed: Failed) -> FailureKind:
    """Returns the fault that a trial has named itself."""
    known = [fault for fault in FailureKind if fault == failed.kind]
    return known[0] if known else FailureKind.ERROR


def is_terminal(result: Finished | Failed) -> bool:
    """Tells whether a result that a dead supervisor has left ends the trial.

    Where it does not, that supervisor may have counted it already: the trial goes on, and spends nothing twice.
    """
    return isinstance(result, Finished) or FAILURE_POLICY[fault_of(result)].then is FailureAction.FAILS


def is_closed(happened: list[Event], state: str) -> bool:
    """Tells whether the record ends with the closing event of this state."""
    last = next((event for event in reversed(happened) if not isinstance(event, Evicted)), None)
    return isinstance(last, AttemptEnded) and last.state == state
