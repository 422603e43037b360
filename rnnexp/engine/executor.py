"""The interface between the supervisor and an executor, which runs trials in slots."""

from dataclasses import dataclass
from typing import Protocol

from rnnexp.trial.answer import Answer
from rnnexp.trial.events import Event
from rnnexp.trial.job import Place, TrialJob
from rnnexp.trial.process import Heartbeat


@dataclass(frozen=True)
class Exited:
    """A trial's process has ended. It is the last message of the process.

    Attributes:
        code: its exit code; -n if signal n killed it.
    """

    code: int


@dataclass(frozen=True)
class NotStarted:
    """A slot on another machine could not start the attempt. It is the last message of the attempt.

    Attributes:
        reason: one line.
    """

    reason: str


@dataclass(frozen=True)
class SlotLost:
    """The slot has ended, and the trial's process with it: its machine is lost. It is the last message of the attempt.

    Attributes:
        reason: one line.
    """

    reason: str


@dataclass(frozen=True)
class Unreachable:
    """The slot does not answer; it may still run the trial. The time until the next message counts as no silence."""


End = Exited | NotStarted | SlotLost
"""The last message of an attempt."""

Message = tuple[int, Event | Heartbeat | Unreachable | End]
"""The number of a trial and a message about its process."""


class Executor(Protocol):
    """Slots for trials. Only one thread uses it. A running trial is identified by its number."""

    @property
    def n_slots(self) -> int:
        """How many trials can run at the same time, now: slots on other machines come and go."""
        ...

    def submit(self, job: TrialJob, place: Place) -> None:
        """Starts an attempt in a free slot; raises `OSError` if no process can be started.

        Args:
            job: the attempt.
            place: the trial's files on this machine. When `poll` returns an event, they are those of the event.
        """
        ...

    def poll(self, timeout_s: float) -> list[Message]:
        """Waits for messages until the timeout. Those of a trial are in order, its `End` last.

        Raises:
            EngineLostError: if no slot can be reached or started any more.
        """
        ...

    def answer(self, number: int, answer: Answer) -> None:
        """Answers a trial that has sent `EpochEnded`."""
        ...

    def request_stop(self, number: int) -> None:
        """Asks a trial to end after the running batch, with the result of its best epoch so far."""
        ...

    def kill(self, number: int) -> None:
        """Kills a trial's process; its `End` follows."""
        ...

    def private_bytes(self, number: int) -> int | None:
        """Returns the memory that the end of the trial would free; None if unknown."""
        ...

    def close(self) -> None:
        """Kills all running trials and waits for their end."""
        ...
