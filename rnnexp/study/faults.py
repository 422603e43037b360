"""What can befall a trial, and what becomes of it. The one table; docs/faults.md prints it for users."""

import signal
from dataclasses import dataclass
from enum import StrEnum

from rnnexp.engine.executor import Exited
from rnnexp.trial.run import DISK_FULL

GOES_ON = "; it goes on from its last epoch"
"""The end of the reason of a trial whose process died and that is retried."""


class Fault(StrEnum):
    """What befell a trial."""

    ERROR = "error"
    DIVERGED = "diverged"
    DATA = "data"
    TIME = "time"
    STOPPED = "stopped"
    KILLED = "killed"
    MEMORY = "memory"
    SILENT = "silent"
    DISK = "disk"
    INTERRUPTED = "interrupted"
    CUT_OFF = "cut off"


class Then(StrEnum):
    """What becomes of the trial."""

    FAILS = "fails"
    """FAIL, for good: another attempt would come to the same."""
    RETRIED = "retried"
    """It goes on from its last epoch, as long as `limits.retries` last; then FAIL."""
    WAITS = "waits"
    """It goes on from its last epoch at the next start; none of its retries is spent."""


@dataclass(frozen=True)
class Row:
    """One fault.

    Attributes:
        happens: what befell the trial.
        found_by: how the supervisor knows.
        then: what becomes of it.
        advice: what the user can do, added to the reason of a trial that fails.
    """

    happens: str
    found_by: str
    then: Then
    advice: str = ""


TABLE: dict[Fault, Row] = {
    Fault.ERROR: Row("it raises an exception", "its own word, with the traceback", Then.FAILS),
    Fault.DIVERGED: Row("its loss or a metric is NaN or infinite", "its own word, after the epoch", Then.FAILS),
    Fault.DATA: Row(
        "the data do not suffice for its settings, or cannot be read", "before or as it starts", Then.FAILS
    ),
    Fault.TIME: Row("it takes longer than `limits.trial_s`", "the supervisor's clock", Then.FAILS),
    Fault.STOPPED: Row(
        "it is stopped by hand and does not end within 30 s of its own", "`rnnexp stop STUDY TRIAL`", Then.FAILS
    ),
    Fault.KILLED: Row(
        "its process dies without a result: SIGKILL, SIGSEGV, `os._exit`, the kernel's want of memory",
        "its exit code",
        Then.RETRIED,
    ),
    Fault.MEMORY: Row(
        "it holds more private memory than `limits.memory_gb`, or can get no more",
        "its private bytes, looked at every second (Linux); its own word",
        Then.RETRIED,
        "fewer --workers or a smaller batch_size, units or maxlen would need less",
    ),
    Fault.SILENT: Row(
        "it hangs: no epoch and no sign of life for `limits.silence_s`", "the supervisor's clock", Then.RETRIED
    ),
    Fault.DISK: Row("the disk is full; the sweep ends and says what to free", "a write that fails", Then.WAITS),
    Fault.INTERRUPTED: Row(
        "the sweep is told to end: Ctrl-C, SIGTERM, `rnnexp stop STUDY`, the time budget", "the signal", Then.WAITS
    ),
    Fault.CUT_OFF: Row(
        "the supervisor is gone: SIGKILL, power loss; the trial's process ends itself",
        "the next start: nobody holds the study's lock, so nothing of it runs",
        Then.WAITS,
    ),
}


def of_exit(exited: Exited) -> tuple[Fault, str]:
    """Returns the fault of a process that ended without a result, and how it ended."""
    if exited.code == DISK_FULL:
        return Fault.DISK, "the disk is full"
    if exited.code < 0:
        return Fault.KILLED, f"its process was killed by {signal.Signals(-exited.code).name}"
    return Fault.KILLED, f"its process ended with exit code {exited.code}"


def waits(fault: Fault, deaths: int, retries: int) -> bool:
    """Tells whether a trial goes on later.

    Args:
        fault: what befell it.
        deaths: how often it was retried before.
        retries: how often it may be.
    """
    then = TABLE[fault].then
    return then is Then.WAITS or (then is Then.RETRIED and deaths < retries)


def markdown() -> str:
    """Returns the table for docs/faults.md."""
    words = {
        Then.FAILS: "fails, with its reason",
        Then.RETRIED: "goes on from its last epoch, `limits.retries` times; then fails",
        Then.WAITS: "waits; the next start goes on from its last epoch",
    }
    rows = [f"| {fault} | {row.happens} | {row.found_by} | {words[row.then]} |" for fault, row in TABLE.items()]
    return "\n".join(
        ["| fault | what befalls a trial | found by | what becomes of it |", "| --- | --- | --- | --- |", *rows]
    )
