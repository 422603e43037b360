"""The failure policy: one table lists the failure kinds and how each is handled.

`docs/failures.md` prints the table for users. This module only decides: it does not know slots, files or Optuna.
"""

import signal
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from rnnexp.engine.executor import End, NotStarted, SlotLost
from rnnexp.trial.events import RESUMES
from rnnexp.trial.process import DISK_FULL, LOCKED


class FailureKind(StrEnum):
    """Why an attempt of a trial ended without a result."""

    ERROR = "error"
    DIVERGED = "diverged"
    DATA = "data"
    TIME = "time"
    STOPPED = "stopped"
    ENVIRONMENT = "environment"
    KILLED = "killed"
    MEMORY = "memory"
    HEARTBEAT_TIMEOUT = "heartbeat timeout"
    DISK = "disk"
    INTERRUPTED = "interrupted"
    SUPERVISOR_LOST = "supervisor lost"
    SLOT_LOST = "slot lost"


class FailureAction(StrEnum):
    """How the supervisor handles a failure."""

    FAIL = "fail"
    """The trial becomes FAIL: another attempt would fail in the same way."""
    PRUNE = "prune"
    """The trial becomes PRUNED without a value. Samplers then avoid its settings; they ignore a trial that is FAIL."""
    WAIT = "wait"
    """The trial is started again after a pause. This uses up no retry and is no failed trial."""
    RETRY = "retry"
    """The trial resumes from its last epoch, at most `limits.retries` times; then it becomes FAIL."""
    REQUEUE = "requeue"
    """The trial resumes from its last epoch at the next start of the study. This uses up no retry."""
    MOVE = "move"
    """The trial resumes from its last epoch in the next free slot. This uses up no retry."""


FINAL_ACTIONS = (FailureAction.FAIL, FailureAction.PRUNE)
"""The actions after which a trial is never started again."""


class Failure(NamedTuple):
    """One failure of one attempt.

    Attributes:
        kind: selects the rule.
        reason: one line for the user.
    """

    kind: FailureKind
    reason: str


@dataclass(frozen=True)
class FailureRule:
    """How one kind of failure is detected and handled.

    Attributes:
        description: what happens.
        detected_by: how the supervisor detects it.
        action: what the supervisor does.
        advice: what the user can do; added to the reason when the retries are used up.
    """

    description: str
    detected_by: str
    action: FailureAction
    advice: str = ""


FAILURE_POLICY: dict[FailureKind, FailureRule] = {
    FailureKind.ERROR: FailureRule(
        "the trial raises an exception", "the trial reports it, with the traceback", FailureAction.FAIL
    ),
    FailureKind.DIVERGED: FailureRule(
        "the loss is NaN or infinite in the first epoch; later, the trial is complete with its best epoch so far",
        "the trial reports it after the epoch",
        FailureAction.PRUNE,
    ),
    FailureKind.DATA: FailureRule(
        "the data cannot be read, or are too few for the trial's settings",
        "a check before the trial starts, or the trial reports it",
        FailureAction.FAIL,
    ),
    FailureKind.TIME: FailureRule(
        "the trial attempt takes longer than `limits.trial_s`", "the supervisor's clock", FailureAction.FAIL
    ),
    FailureKind.STOPPED: FailureRule(
        "the user stops the trial before its first epoch has ended, or it sends nothing for 30 s after the request; "
        "else it is pruned, with the result of its best epoch",
        "`rnnexp stop STUDY TRIAL`; the trial reports it, or the supervisor's clock",
        FailureAction.FAIL,
    ),
    FailureKind.ENVIRONMENT: FailureRule(
        "no process can be started, it cannot get the lock of its folder, or it ends before it trains",
        "the operating system's error, or the exit code",
        FailureAction.WAIT,
    ),
    FailureKind.KILLED: FailureRule(
        "the process ends without a result: SIGKILL, SIGSEGV, `os._exit`, the kernel's out-of-memory killer",
        "the exit code",
        FailureAction.RETRY,
    ),
    FailureKind.MEMORY: FailureRule(
        "the trial uses more private memory than `limits.memory_gb`, or cannot allocate more",
        "a measurement every second, or the trial reports it",
        FailureAction.RETRY,
        "to need less memory, use fewer --workers or a smaller batch_size, units or maxlen",
    ),
    FailureKind.HEARTBEAT_TIMEOUT: FailureRule(
        "the trial hangs: no epoch and no heartbeat for `limits.heartbeat_timeout_s`",
        "the supervisor's clock",
        FailureAction.RETRY,
    ),
    FailureKind.DISK: FailureRule(
        "the disk is full; the sweep ends and says how to free space",
        "a failed write, or less than 16 MiB free",
        FailureAction.REQUEUE,
    ),
    FailureKind.INTERRUPTED: FailureRule(
        "the sweep is stopped: Ctrl-C, SIGTERM, its terminal is closed, `rnnexp stop STUDY`, the time budget",
        "the signal, or the supervisor's clock",
        FailureAction.REQUEUE,
    ),
    FailureKind.SUPERVISOR_LOST: FailureRule(
        "the supervisor dies: SIGKILL, power loss; the trial's process then ends itself",
        "the next start: it holds the study's lock, so a trial in state RUNNING is stale",
        FailureAction.REQUEUE,
    ),
    FailureKind.SLOT_LOST: FailureRule(
        "the machine of the trial's slot fails, is removed or is preempted",
        "the engine (Ray) reports the end of the slot",
        FailureAction.MOVE,
    ),
}


@dataclass(frozen=True)
class Decision:
    """How one failure is handled.

    Attributes:
        action: what to do with the trial.
        reason: one line for the user.
    """

    action: FailureAction
    reason: str


def decide(failure: Failure, n_crashes: int, max_retries: int) -> Decision:
    """Applies the policy to one failure.

    Args:
        failure: the failure.
        n_crashes: how many retries the trial has used.
        max_retries: how many it may use (`limits.retries`).
    """
    rule = FAILURE_POLICY[failure.kind]
    if rule.action is not FailureAction.RETRY:
        return Decision(rule.action, failure.reason)
    if n_crashes < max_retries:
        return Decision(FailureAction.RETRY, failure.reason + RESUMES)
    times = f", {n_crashes + 1} times" if n_crashes else ""
    advice = f"; {rule.advice}" if rule.advice else ""
    return Decision(FailureAction.FAIL, failure.reason + times + advice)


def classify_end(end: End, *, has_trained: bool) -> Failure:
    """Returns the failure of an attempt that ended without a result.

    Args:
        end: its last message.
        has_trained: whether it has started to train; if not, the environment is the cause.
    """
    if isinstance(end, SlotLost):
        return Failure(FailureKind.SLOT_LOST, end.reason)
    if isinstance(end, NotStarted):
        return Failure(FailureKind.ENVIRONMENT, f"its process could not be started ({end.reason})")
    if end.code == DISK_FULL:
        return Failure(FailureKind.DISK, "the disk is full")
    if end.code == LOCKED:
        return Failure(FailureKind.ENVIRONMENT, "another process works in its folder")
    reason = f"its process ended with exit code {end.code}"
    if end.code < 0:
        reason = f"its process was killed by {signal.Signals(-end.code).name}"
    if has_trained:
        return Failure(FailureKind.KILLED, reason)
    return Failure(FailureKind.ENVIRONMENT, f"{reason} before it trained")


def parse_kind(name: str) -> FailureKind:
    """Returns the failure kind that a trial reports in a `Failed` event; ERROR for an unknown name."""
    try:
        return FailureKind(name)
    except ValueError:
        return FailureKind.ERROR


class LostSlots:
    """Counts the slots that a trial has lost without an epoch in between: the trial itself may be the cause."""

    _LIMIT = 3

    def __init__(self) -> None:
        self._lost: dict[int, tuple[int, int]] = {}

    def classify(self, number: int, failure: Failure, n_epochs: int) -> Failure:
        """Counts one lost slot; returns the failure as it is to be handled: `KILLED` for each third one.

        Args:
            number: the trial's.
            failure: of the kind `SLOT_LOST`.
            n_epochs: epochs that the trial has completed.
        """
        before, count = self._lost.get(number, (n_epochs, 0))
        count = count + 1 if before == n_epochs else 1
        self._lost[number] = n_epochs, count % self._LIMIT
        if count < self._LIMIT:
            return failure
        return Failure(FailureKind.KILLED, f"{failure.reason}, {count} times without an epoch in between")


class ConsecutiveFailures:
    """Counts the trials that failed without a success between them, to stop a sweep that cannot work."""

    def __init__(self, limit: int | None) -> None:
        """Args:
        limit: how many stop the sweep (`limits.consecutive_failures`); None for no limit.
        """
        self._limit = limit
        self._reasons: list[str] = []

    def add(self, reason: str) -> None:
        """Counts a failed trial."""
        self._reasons.append(reason)

    def reset(self) -> None:
        """Starts again from zero: a trial has a result."""
        self._reasons.clear()

    @property
    def stop_reason(self) -> str:
        """Why the sweep must stop, with the most frequent reason; empty while the limit is not reached."""
        if self._limit is None or len(self._reasons) < self._limit:
            return ""
        ((reason, count),) = Counter(self._reasons).most_common(1)
        share = "" if count == len(self._reasons) else f" ({count} of them)"
        return (
            f"{len(self._reasons)} consecutive trials failed{share}: {reason}; fix the cause, then run the same "
            "command to resume (limits.consecutive_failures)"
        )


def markdown() -> str:
    """Returns the table for docs/failures.md."""
    actions = {
        FailureAction.FAIL: "the trial fails; its reason is stored",
        FailureAction.PRUNE: "the trial is pruned, without a value; the sampler avoids its settings",
        FailureAction.WAIT: "the trial waits and is started again, after pauses of 1 s to 2 minutes; after 10 such "
        "failures in a row the sweep ends, and the next start resumes it",
        FailureAction.RETRY: "the trial resumes from its last epoch, `limits.retries` times; then it fails",
        FailureAction.REQUEUE: "the trial waits; the next start resumes it from its last epoch",
        FailureAction.MOVE: "the trial resumes from its last epoch in another slot; the third slot that it loses "
        "without an epoch in between counts as `killed`",
    }
    rows = [
        f"| {kind} | {rule.description} | {rule.detected_by} | {actions[rule.action]} |"
        for kind, rule in FAILURE_POLICY.items()
    ]
    return "\n".join(["| failure | what happens | detected by | action |", "| --- | --- | --- | --- |", *rows])
