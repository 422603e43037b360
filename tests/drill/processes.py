"""Which processes of a sweep live, by /proc: those of its session, and which of them is a trial."""

import os
import re
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_DEAD = ("Z", "X")
_LOG = re.compile(r"/trials/(\d+)/log\.txt$")


@dataclass(frozen=True)
class Process:
    """A living process.

    Attributes:
        pid: its number.
        parent: its parent's.
        session: its session's, which is the pid of the process that began the session.
        command: its command line.
        trial: the number of the trial that it trains, or None.
    """

    pid: int
    parent: int
    session: int
    command: str
    trial: int | None


def _process(folder: Path) -> Process | None:
    try:
        state, parent, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
        command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except (OSError, ValueError):
        return None
    if state in _DEAD:
        return None
    try:
        log = _LOG.search(str((folder / "fd" / "1").readlink()))
    except OSError:
        log = None
    return Process(int(folder.name), int(parent), int(session), command, int(log.group(1)) if log else None)


def living() -> list[Process]:
    """Returns every process of this machine that we may look at."""
    found = (_process(folder) for folder in Path("/proc").iterdir() if folder.name.isdigit())
    return [process for process in found if process is not None]


def of_sessions(sessions: Iterable[int]) -> list[Process]:
    """Returns what lives of some sessions."""
    wanted = set(sessions)
    return [process for process in living() if process.session in wanted]


def naming(folder: Path) -> list[Process]:
    """Returns the processes, this one aside, with a folder in their command line."""
    return [process for process in living() if str(folder) in process.command and process.pid != os.getpid()]


def alive(pid: int) -> bool:
    """Tells whether a process lives; a zombie does not."""
    return _process(Path(f"/proc/{pid}")) is not None


def send(pid: int, number: int) -> bool:
    """Sends a signal; tells whether there was a process to get it."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def end(sessions: Iterable[int]) -> None:
    """Kills what is left of some sessions."""
    for process in of_sessions(sessions):
        send(process.pid, signal.SIGKILL)


def wait_gone(sessions: Iterable[int], within_s: float, apart: Iterable[int] = ()) -> list[Process]:
    """Waits until nothing of some sessions lives, some processes apart; returns what does at the end."""
    deadline, spared = time.monotonic() + within_s, set(apart)
    while True:
        left = [process for process in of_sessions(sessions) if process.pid not in spared]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.1)
