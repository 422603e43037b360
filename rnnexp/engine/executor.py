"""The interface between the supervisor and an executor, which runs trials in slots."""

from dataclasses import dataclass
from typing import Protocol

from rnnexp.trial.answer import Answer
from rnnexp.trial.events import Event
from rnnexp.trial.process import Heartbeat, TrialJob


@dataclass(frozen=True)
class Exited:
    """A trial's process has ended. It is the last message of the process.

    Attributes:
        code: its exit code; -n if signal n killed it.
    """

    code: int


Message = tuple[int, Event | Heartbeat | Exited]
"""The number of a trial and a message from its process."""


class Executor(Protocol):
    """Slots for trials. Only one thread uses it. A running trial is identified by its number."""

    @property
    def n_slots(self) -> int:
        """How many trials can run at the same time."""
        ...

    def submit(self, number: int, job: TrialJob) -> None:
        """Starts a trial in a free slot; raises `OSError` if no process can be started."""
        ...

    def poll(self, timeout_s: float) -> list[Message]:
        """Waits for messages until the timeout. Those of a trial are in order, `Exited` last."""
        ...

    def answer(self, number: int, answer: Answer) -> None:
        """Answers a trial that has sent `EpochEnded`."""
        ...

    def request_stop(self, number: int) -> None:
        """Asks a trial to end after the running batch, with the result of its best epoch so far."""
        ...

    def kill(self, number: int) -> None:
        """Kills a trial's process; `Exited` follows."""
        ...

    def private_bytes(self, number: int) -> int | None:
        """Returns the memory that the end of the trial would free; None if unknown."""
        ...

    def close(self) -> None:
        """Kills all running trials and waits for their end."""
        ...
