"""The lock of a study, whose file says which process runs it, and the lock of the whole home.

The one supervisor of a study holds the study's lock, and with it a share of the home's lock. A repair of the databases
holds the home's lock alone, so that no study starts meanwhile.

If the studies are in PostgreSQL, the supervisor also holds an advisory lock there, which other machines see. It is lost
when the connection is lost; the supervisor then ends its trials and takes it again.
"""

import contextlib
import dataclasses
import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rnnexp import locks, process_identity
from rnnexp.errors import StorageLostError, StudyError
from rnnexp.home import Home
from rnnexp.process_identity import ProcessIdentity
from rnnexp.storage.bulk_reader import open_tables
from rnnexp.storage.postgres import AdvisoryLock

_HOLDER = "rnnexp"
"""The first word of the name by which the holder of a lock is known in PostgreSQL."""

_POLL_S = 0.1
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


class StudyLock:
    """The lock of a study, held by this process."""

    def __init__(self, home: Home, study: str) -> None:
        """Takes no lock in the database yet."""
        self._home, self._study = home, study
        self._shared = AdvisoryLock(home.storage_url, study) if home.storage_server is not None else None

    def acquire(self) -> None:
        """Takes the lock in PostgreSQL, also again after it was lost. Does nothing if the studies are in SQLite.

        Raises:
            StorageError: if the database cannot be used.
            StorageLostError: if the database has not noticed yet that the connection of this process is broken.
            StudyError: if another process holds the lock.
        """
        if self._shared is None:
            return
        mine, deadline = Owner.this_process(), time.monotonic() + _ACQUIRE_TIMEOUT_S
        while not self._shared.acquire(f"{_HOLDER} {mine.pid} {mine.since:.0f} {mine.host}"):
            if time.monotonic() >= deadline:
                with open_tables(self._home) as tables:
                    owner = shared_owner(tables.lock_holder(self._study)) or _UNKNOWN_OWNER
                if (owner.pid, owner.host) == (mine.pid, mine.host):
                    raise StorageLostError("the database still has the lock of the broken connection")
                raise _is_running(self._study, owner)
            time.sleep(_POLL_S)

    def check(self) -> None:
        """Checks, without waiting, that the lock is still held.

        Raises:
            StorageLostError: if the lock in PostgreSQL is lost.
        """
        if self._shared is not None:
            self._shared.check()

    def release(self) -> None:
        """Releases the lock in PostgreSQL."""
        if self._shared is not None:
            self._shared.release()


@contextlib.contextmanager
def hold_study_lock(home: Home, study: str) -> Iterator[StudyLock]:
    """Holds the study's lock. While it is held, no other process runs the study's trials or repairs the home.

    Args:
        home: holds the study; its lock file is created if it is missing.
        study: the study's name.

    Raises:
        StudyError: if another process holds the lock of the study or of the home.
        StorageError: if the database in RNNEXP_STORAGE cannot be used.
    """
    lock = StudyLock(home, study)
    path = home.study(study).lock
    share = locks.open_locked(home.repair_lock, _ACQUIRE_TIMEOUT_S, shared=True)
    if share is None:
        raise StudyError(
            f"study {study}: another process repairs the home {home.root} (`rnnexp doctor --repair`); "
            "try again when it has ended"
        )
    with share:
        file = locks.open_locked(path, _ACQUIRE_TIMEOUT_S)
        if file is None:
            raise _is_running(study, _load_owner(path))
        with file:
            lock.acquire()
            try:
                file.truncate(0)
                file.write(json.dumps(asdict(Owner.this_process())))
                file.flush()
                yield lock
            finally:
                lock.release()
                file.truncate(0)


def _is_running(study: str, owner: Owner) -> StudyError:
    return StudyError(
        f"study {study} is being run already, by {owner}; "
        f"list its trials with `rnnexp trials {study}`, stop it with `rnnexp stop {study}`"
    )


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


def lock_owner(home: Home, study: str) -> Owner | None:
    """Returns the supervisor that holds the lock of a study, or None if the lock is free.

    Raises:
        StorageError: if the database in RNNEXP_STORAGE cannot be used.
    """
    if home.storage_server is None:
        return local_owner(home, study)
    with open_tables(home) as tables:
        return local_owner(home, study) or shared_owner(tables.lock_holder(study))


def local_owner(home: Home, study: str) -> Owner | None:
    """Returns the supervisor that holds the lock of a study in this home, or None."""
    path = home.study(study).lock
    return _load_owner(path) if locks.is_held(path) else None


def shared_owner(holder: str | None) -> Owner | None:
    """Returns the supervisor that holds a lock in PostgreSQL, or None.

    Args:
        holder: what `Tables.lock_holder` returns; the owner is an unknown one if it does not describe itself.
    """
    if holder is None:
        return None
    match = re.fullmatch(rf"{_HOLDER} (\d+) (\d+) (.+)", holder)
    return Owner(int(match[1]), match[3], float(match[2])) if match else _UNKNOWN_OWNER


def _load_owner(path: Path) -> Owner:
    """Returns the owner that the lock file names; an unknown one if the file is incomplete or cannot be read."""
    try:
        values = json.loads(path.read_text())
        known = {field.name for field in dataclasses.fields(Owner)}
        return Owner(**{name: value for name, value in values.items() if name in known})
    except (OSError, ValueError, TypeError, AttributeError):
        return _UNKNOWN_OWNER
