"""Finds the living processes of a sweep through /proc: those of its sessions, and which of them train a trial."""

import os
import re
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_DEAD = ("Z", "X")
_LOG = re.compile(r"/(?:trials|slots/[^/]+)/(\d+)/log\.txt$")
"""The log of a trial in a home, or in a slot on a Ray node."""


@dataclass(frozen=True)
class Process:
    """A living process.

    Attributes:
        pid: its process id.
        parent: its parent's process id.
        session: its session id, which is the pid of the process that created the session.
        command: its command line.
        trial: the number of the trial that it trains, or None.
        log: the path of that trial's log; empty if it trains none.
    """

    pid: int
    parent: int
    session: int
    command: str
    trial: int | None
    log: str = ""

    def __str__(self) -> str:
        return f"{self.pid} {self.command[:80]}"


def _process(folder: Path) -> Process | None:
    try:
        state, parent, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
        command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except (OSError, ValueError):
        return None
    if state in _DEAD:
        return None
    try:
        log = _LOG.search(str((folder / "fd" / "1").readlink()))  # a trial's stdout is its log
    except OSError:
        log = None
    trial, path = (int(log.group(1)), log.string) if log else (None, "")
    return Process(int(folder.name), int(parent), int(session), command, trial, path)


def all_readable() -> list[Process]:
    """Returns every living process of this machine that this user may read."""
    found = (_process(folder) for folder in Path("/proc").iterdir() if folder.name.isdigit())
    return [process for process in found if process is not None]


def in_sessions(sessions: Iterable[int]) -> list[Process]:
    """Returns the living processes of some sessions."""
    wanted = set(sessions)
    return [process for process in all_readable() if process.session in wanted]


def with_folder_in_command(folder: Path) -> list[Process]:
    """Returns the other processes whose command line contains a folder."""
    return [process for process in all_readable() if str(folder) in process.command and process.pid != os.getpid()]


def is_alive(pid: int) -> bool:
    """Tells whether a process is alive; a zombie is not."""
    return _process(Path(f"/proc/{pid}")) is not None


def send_signal(pid: int, number: int) -> bool:
    """Sends a signal; returns False if there is no such process."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def kill_sessions(sessions: Iterable[int]) -> None:
    """Kills all living processes of some sessions."""
    for process in in_sessions(sessions):
        send_signal(process.pid, signal.SIGKILL)


def wait_until_gone(sessions: Iterable[int], timeout_s: float, ignored: Iterable[int] = ()) -> list[Process]:
    """Waits until all processes of some sessions have ended, except the ignored ones.

    Returns:
        The processes that are still alive after the timeout.
    """
    deadline, excluded = time.monotonic() + timeout_s, set(ignored)
    while True:
        left = [process for process in in_sessions(sessions) if process.pid not in excluded]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.1)
