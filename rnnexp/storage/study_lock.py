"""The lock of a study: its one supervisor holds it, and the lock file says which process that is."""

import contextlib
import dataclasses
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rnnexp import locks, process_identity
from rnnexp.errors import StudyError
from rnnexp.process_identity import ProcessIdentity

_ACQUIRE_TIMEOUT_S = 0.5
"""`lock_owner` takes the lock for a moment. A lock that is held for longer than this belongs to a supervisor."""


@dataclass(frozen=True)
class Owner:
    """The supervisor that holds a lock.

    Attributes:
        pid: its process id.
        host: the name of its machine.
        since: when it took the lock, in seconds since 1970.
        boot: with `namespace` and `started`, distinguishes it from other processes with the same id; see
            `ProcessIdentity`. Empty if an earlier version holds the lock.
        namespace: see `boot`.
        started: see `boot`.
    """

    pid: int
    host: str
    since: float
    boot: str = ""
    namespace: str = ""
    started: str = ""

    @classmethod
    def this_process(cls) -> "Owner":
        """Returns this process as an owner from now on."""
        identity = process_identity.identity(os.getpid())
        assert identity is not None
        return cls(os.getpid(), since=time.time(), **asdict(identity))

    @property
    def identity(self) -> ProcessIdentity | None:
        """What distinguishes it from other processes with the same id; None if an earlier version holds the lock."""
        return ProcessIdentity(self.host, self.boot, self.namespace, self.started) if self.started else None

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
        file.write(json.dumps(asdict(Owner.this_process())))
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
        values = json.loads(path.read_text())
        known = {field.name for field in dataclasses.fields(Owner)}
        return Owner(**{name: value for name, value in values.items() if name in known})
    except (OSError, ValueError, TypeError, AttributeError):
        return None
