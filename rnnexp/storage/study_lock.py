"""Who runs a study: a lock that one supervisor holds, and that says who it is."""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rnnexp import locks
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
        if not locks.acquire(file, _GLANCES_S):
            raise StudyError(
                f"study {study} is being run already, by {_read(path) or 'another process'}; "
                f"watch it with `rnnexp trials {study}`, end it with `rnnexp stop {study}`"
            )
        file.truncate(0)
        file.write(json.dumps(asdict(Owner(os.getpid(), socket.gethostname(), time.time()))))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def lock_owner(path: Path) -> Owner | None:
    """Returns who holds the lock now, or None where nobody does."""
    return _read(path) if locks.is_held(path) else None


def _read(path: Path) -> Owner | None:
    try:
        return Owner(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None
