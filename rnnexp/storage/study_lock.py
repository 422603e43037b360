"""The lock of a study: its one supervisor holds it, and the lock file says which process that is."""

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

_ACQUIRE_TIMEOUT_S = 0.5
"""`lock_owner` takes the lock for a moment. A lock that is held for longer than this belongs to a supervisor."""


@dataclass(frozen=True)
class Owner:
    """The supervisor that holds a lock.

    Attributes:
        pid: its process id.
        host: the name of its machine.
        since: when it took the lock, in seconds since 1970.
    """

    pid: int
    host: str
    since: float

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} on {self.host} since {since}"


@contextlib.contextmanager
def hold_study_lock(path: Path, study: str) -> Iterator[None]:
    """Holds the study's lock. While it is held, no other process runs the study's trials.

    Args:
        path: the lock file; created if it is missing.
        study: the study's name, for the error message.

    Raises:
        StudyError: if another process holds the lock.
    """
    file = locks.open_locked(path, _ACQUIRE_TIMEOUT_S)
    if file is None:
        raise StudyError(
            f"study {study} is being run already, by {_load_owner(path) or 'another process'}; "
            f"list its trials with `rnnexp trials {study}`, stop it with `rnnexp stop {study}`"
        )
    with file:
        file.truncate(0)
        file.write(json.dumps(asdict(Owner(os.getpid(), socket.gethostname(), time.time()))))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def lock_owner(path: Path) -> Owner | None:
    """Returns the supervisor that holds the lock, or None if the lock is free."""
    return _load_owner(path) if locks.is_held(path) else None


def _load_owner(path: Path) -> Owner | None:
    try:
        return Owner(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None
