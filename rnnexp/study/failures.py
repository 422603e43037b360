"""What can befall a trial, and what becomes of it. The one table; docs/failures.md prints it for users."""

import signal
from dataclasses import dataclass
from enum import StrEnum

from rnnexp.engine.executor import Exited
from rnnexp.trial.process import DISK_FULL


class FailureKind(StrEnum):
    """What befell a trial."""

    ERROR = "error"
    DIVERGED = "diverged"
    DATA = "data"
    TIME = "time"
    STOPPED = "stopped"
    KILLED = "killed"
    MEMORY = "memory"
    HEARTBEAT_TIMEOUT = "heartbeat timeout"
    DISK = "disk"
    INTERRUPTED = "interrupted"
    SUPERVISOR_LOST = "supervisor lost"


class FailureAction(StrEnum):
    """What becomes of the trial."""

    FAILS = "fails"
    """FAIL, for good: another attempt would come to the same."""
    RETRIED = "retried"
    """It goes on from its last epoch, as long as `limits.retries` last; then FAIL."""
    WAITS = "waits"
    """It goes on from its last epoch at the next start; none of its retries is spent."""


@dataclass(frozen=True)
class FailureRule:
    """One fault.

    Attributes:
        happens: what befell the trial.
        found_by: how the supervisor knows.
        then: what becomes of it.
        advice: what the user can do, added to the reason of a trial that fails.
    """

    happens: str
    found_by: str
    then: FailureAction
    advice: str = ""


FAILURE_POLICY: dict[FailureKind, FailureRule] = {
    FailureKind.ERROR: FailureRule("it raises an exception", "its own word, with the traceback", FailureAction.FAILS),
    FailureKind.DIVERGED: FailureRule(
        "its loss or a metric is NaN or infinite", "its own word, after the epoch", FailureAction.FAILS
    ),
    FailureKind.DATA: FailureRule(
        "the data do not suffice for its settings, or cannot be read", "before or as it starts", FailureAction.FAILS
    ),
    FailureKind.TIME: FailureRule(
        "it takes longer than `limits.trial_s`", "the supervisor's clock", FailureAction.FAILS
    ),
    FailureKind.STOPPED: FailureRule(
        "it is stopped by hand and does not end within 30 s of its own",
        "`rnnexp stop STUDY TRIAL`",
        FailureAction.FAILS,
    ),
    FailureKind.KILLED: FailureRule(
        "its process dies without a result: SIGKILL, SIGSEGV, `os._exit`, the kernel's want of memory",
        "its exit code",
        FailureAction.RETRIED,
    ),
    FailureKind.MEMORY: FailureRule(
        "it holds more private memory than `limits.memory_gb`, or can get no more",
        "its private bytes, looked at every second (Linux); its own word",
        FailureAction.RETRIED,
        "fewer --workers or a smaller batch_size, units or maxlen would need less",
    ),
    FailureKind.HEARTBEAT_TIMEOUT: FailureRule(
        "it hangs: no epoch and no sign of life for `limits.heartbeat_timeout_s`",
        "the supervisor's clock",
        FailureAction.RETRIED,
    ),
    FailureKind.DISK: FailureRule(
        "the disk is full; the sweep ends and says what to free", "a write that fails", FailureAction.WAITS
    ),
    FailureKind.INTERRUPTED: FailureRule(
        "the sweep is told to end: Ctrl-C, SIGTERM, `rnnexp stop STUDY`, the time budget",
        "the signal",
        FailureAction.WAITS,
    ),
    FailureKind.SUPERVISOR_LOST: FailureRule(
        "the supervisor is gone: SIGKILL, power loss; the trial's process ends itself",
        "the next start: nobody holds the study's lock, so nothing of it runs",
        FailureAction.WAITS,
    ),
}


def of_exit(exited: Exited) -> tuple[FailureKind, str]:
    """Returns the fault of a process that ended without a result, and how it ended."""
    if exited.code == DISK_FULL:
        return FailureKind.DISK, "the disk is full"
    if exited.code < 0:
        return FailureKind.KILLED, f"its process was killed by {signal.Signals(-exited.code).name}"
    return FailureKind.KILLED, f"its process ended with exit code {exited.code}"


def waits(fault: FailureKind, n_crashes: int, retries: int) -> bool:
    """Tells whether a trial goes on later.

    Args:
        fault: what befell it.
        n_crashes: how often it was retried before.
        retries: how often it may be.
    """
    then = FAILURE_POLICY[fault].then
    return then is FailureAction.WAITS or (then is FailureAction.RETRIED and n_crashes < retries)


def markdown() -> str:
    """Returns the table for docs/failures.md."""
    words = {
        FailureAction.FAILS: "fails, with its reason",
        FailureAction.RETRIED: "goes on from its last epoch, `limits.retries` times; then fails",
        FailureAction.WAITS: "waits; the next start goes on from its last epoch",
    }
    rows = [
        f"| {fault} | {row.happens} | {row.found_by} | {words[row.then]} |" for fault, row in FAILURE_POLICY.items()
    ]
    return "\n".join(
        ["| fault | what befalls a trial | found by | what becomes of it |", "| --- | --- | --- | --- |", *rows]
    )
