"""Who runs a study: a lock that one supervisor holds, and that says who it is."""

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from rnnexp.errors import StudyError

_GLANCES_S = 0.5
"""Whoever only asks who is there holds the lock for a moment; so a lock that is held for longer has an owner."""


@dataclass(frozen=True)
class Owner:
    """A supervisor.

    Attributes:
        pid: its process.
        host: its machine.
        since: seconds since 1970.
    """

    pid: int
    host: str
    since: float

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} on {self.host} since {since}"


@contextlib.contextmanager
def hold_study_lock(path: Path, study: str) -> Iterator[None]:
    """Holds the study's lock; whoever does knows that no other process runs the study's trials.

    Raises:
        StudyError: if somebody else holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        deadline = time.monotonic() + _GLANCES_S
        while not _taken(file):
            if time.monotonic() > deadline:
                raise StudyError(
                    f"study {study} is being run already, by {_read(path) or 'another process'}; "
                    f"watch it with `rnnexp trials {study}`, end it with `rnnexp stop {study}`"
                )
            time.sleep(0.01)
        file.truncate(0)
        file.write(json.dumps(asdict(Owner(os.getpid(), socket.gethostname(), time.time()))))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _taken(file: IO[str]) -> bool:
    """Takes the lock if it is free; tells whether it was."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock_owner(path: Path) -> Owner | None:
    """Returns who holds the lock now, or None where nobody does."""
    try:
        with path.open("r") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _read(path)
    except OSError:
        return None
    return None


def _read(path: Path) -> Owner | None:
    try:
        return Owner(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None
