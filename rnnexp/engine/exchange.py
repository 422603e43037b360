"""What a supervisor and a slot on another machine exchange: commands one way, batches of messages and files the other.

The slot has one method, `exchange`. Each call delivers the commands that the slot has not confirmed, and returns the
batches that the supervisor has not confirmed. Both are numbered, so calls and replies may be lost, late, doubled or out
of order: what is new is used once and in order, the rest is ignored. A command and a batch name the attempt that they
belong to; those of another attempt are ignored.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from rnnexp.engine.executor import Exited, NotStarted
from rnnexp.trial.answer import Answer
from rnnexp.trial.events import Event
from rnnexp.trial.job import TrialJob
from rnnexp.trial.process import Heartbeat


@dataclass(frozen=True)
class StartAttempt:
    """Starts an attempt.

    Attributes:
        job: the attempt.
        files: the content of the trial's files, by name (`trial_files`), from which it resumes.
        store: the folder of the token store on the supervisor's machine; its name contains the digest of the data.
        store_reference: from which a machine without the store gets it; what it is depends on the engine.
    """

    job: TrialJob
    files: Mapping[str, bytes]
    store: Path
    store_reference: Any


class Control(Enum):
    """A request to the process of an attempt."""

    STOP = "stop"
    """It ends after the running batch, with the result of its best epoch so far."""
    KILL = "kill"


@dataclass(frozen=True)
class AttemptId:
    """The attempt that a command or a batch belongs to: the trial's number and the attempt's, from 1."""

    number: int
    attempt: int


@dataclass(frozen=True)
class Command:
    """One command to a slot.

    Attributes:
        sequence: from 1, without gaps.
        attempt: that it concerns.
        action: what to do; an `Answer` is that to the last `EpochEnded`.
    """

    sequence: int
    attempt: AttemptId
    action: StartAttempt | Answer | Control


@dataclass(frozen=True)
class Batch:
    """What has happened in a slot since the last batch.

    Attributes:
        sequence: from 1, without gaps.
        attempt: that it concerns.
        messages: of the attempt's process, in order.
        recorded: the events that the process has written; also those that it could not send before it ended.
        files: the content of the files that changed, by name, None for one that was removed; they belong to the last
            event of the batch.
        log: what was appended to the log.
        private_bytes: the memory that the end of the process would free; None if unknown.
    """

    sequence: int
    attempt: AttemptId
    messages: tuple[Event | Heartbeat | Exited | NotStarted, ...]
    recorded: tuple[Event, ...]
    files: Mapping[str, bytes | None]
    log: bytes
    private_bytes: int | None


@dataclass(frozen=True)
class Reply:
    """The reply to an exchange.

    Attributes:
        batches: those that the supervisor has not confirmed, in order.
        last_command: the sequence number of the last command that the slot has carried out; 0 before the first.
    """

    batches: tuple[Batch, ...]
    last_command: int


@dataclass(frozen=True)
class Gone:
    """The reply of a slot that has ended, with all its processes.

    Attributes:
        reason: one line.
    """

    reason: str


@dataclass(frozen=True)
class NoAnswer:
    """The reply of a slot that did not answer. It may have ended, and it may run and answer later."""
