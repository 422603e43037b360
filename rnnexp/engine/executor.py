"""What every executor offers to the supervisor, wherever its slots are."""

from dataclasses import dataclass
from typing import Protocol

from rnnexp.trial.events import Event
from rnnexp.trial.process import Heartbeat, TrialJob


@dataclass(frozen=True)
class Exited:
    """A trial's process has ended; nothing more will come from it.

    Attributes:
        code: its exit code; -n where signal n killed it.
    """

    code: int


Message = tuple[int, Event | Heartbeat | Exited]
"""A trial's number and what came from it."""


class Executor(Protocol):
    """Slots for trials. One thread uses it; a trial's number names it for as long as it runs."""

    @property
    def n_slots(self) -> int:
        """How many trials can run at once."""
        ...

    def submit(self, number: int, job: TrialJob) -> None:
        """Starts a trial in a free slot; raises `OSError` where no process can be had."""
        ...

    def poll(self, timeout_s: float) -> list[Message]:
        """Waits for messages, at most so long; a trial's come in order, `Exited` last."""
        ...

    def answer(self, number: int, go_on: bool) -> None:
        """Answers a trial that has said `EpochEnded`: on, or pruned."""
        ...

    def kill(self, number: int) -> None:
        """Ends a trial's process at once; `Exited` follows."""
        ...

    def private_bytes(self, number: int) -> int | None:
        """Returns the memory that ending the trial would free, or None where it cannot be told."""
        ...

    def close(self) -> None:
        """Ends what still runs; returns when it has ended."""
        ...
