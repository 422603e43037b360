"""The lock of a study, whose file says which process runs it, and the lock of the whole home.

The one supervisor of a study holds the study's lock, and with it a share of the home's lock. A repair of the databases
holds the home's lock alone, so that no study starts meanwhile.
"""

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
from rnnexp.home import Home
from rnnexp.process_identity import ProcessIdentity

_ACQUIRE_TIMEOUT_S = 0.5
"""`lock_owner` takes the lock for a moment. A lock that is held for longer than this belongs to a supervisor."""


@dataclass(frozen=True)
class Owner:
    """The supervisor that holds a lock.

    Attributes:
        pid: its process id; 0 if it is not known.
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
        if not self.pid:
            return "another process"
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.since))
        return f"process {self.pid} on {self.host} since {since}"


_UNKNOWN_OWNER = Owner(0, "", 0.0)


@contextlib.contextmanager
def hold_study_lock(path: Path, study: str) -> Iterator[None]:
    """Holds the study's lock. While it is held, no other process runs the study's trials or repairs the home.

    Args:
        path: the lock file, HOME/work/STUDY/lock; created if it is missing.
        study: the study's name, for the error message.

    Raises:
        StudyError: if another process holds the lock of the study or of the home.
    """
    home = Home(path.parents[2])
    share = locks.open_locked(home.repair_lock, _ACQUIRE_TIMEOUT_S, shared=True)
    if share is None:
        raise StudyError(
            f"study {study}: another process repairs the home {home.root} (`rnnexp doctor --repair`); "
            "try again when it has ended"
        )
    with share:
        file = locks.open_locked(path, _ACQUIRE_TIMEOUT_S)
        if file is None:
            raise StudyError(
                f"study {study} is being run already, by {_load_owner(path)}; "
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


@contextlib.contextmanager
def hold_home_lock(home: Home) -> Iterator[None]:
    """Holds the lock of the whole home. While it is held, no study of the home runs or starts.

    Raises:
        StudyError: if a study is running, or another process repairs the home.
    """
    file = locks.open_locked(home.repair_lock, _ACQUIRE_TIMEOUT_S)
    with file or contextlib.nullcontext():
        # A supervisor of an earlier version holds no share of the home's lock.
        running = sorted(path.parent.name for path in home.work.glob("*/lock") if locks.is_held(path))
        if running or file is None:
            who = f"{', '.join(running)} is running" if running else "another process uses it"
            raise StudyError(f"the home {home.root} cannot be repaired while {who}; try again when it has ended")
        yield


def lock_owner(path: Path) -> Owner | None:
    """Returns the supervisor that holds the lock, or None if the lock is free."""
    return _load_owner(path) if locks.is_held(path) else None


def _load_owner(path: Path) -> Owner:
    """Returns the owner that the lock file names; an unknown one if the file is incomplete or cannot be read."""
    try:
        values = json.loads(path.read_text())
        known = {field.name for field in dataclasses.fields(Owner)}
        return Owner(**{name: value for name, value in values.items() if name in known})
    except (OSError, ValueError, TypeError, AttributeError):
        return _UNKNOWN_OWNER
