"""File locks. Only this module calls `flock`. On Linux it also finds the processes that hold a lock.

A lock belongs to an open file. It is released when the file is closed, so also when its process dies.

The holder of a lock may delete its file, for example with the folder of a study. A process that waits for the lock then
gets the lock of a file that has no name any more, while the next process creates and locks a new file. Therefore every
function here compares the open file with the one that the path names, and opens it again if they differ.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

_POLL_S = 0.02
_LOCKS = Path("/proc/locks")


def open_locked(path: Path, timeout_s: float | None = None, *, shared: bool = False) -> IO[str] | None:
    """Opens a lock file and takes its lock; creates the file and its folder if they are missing.

    Args:
        path: the lock file.
        timeout_s: how long to wait for another holder; 0 tries once, None waits without a limit.
        shared: whether other shared locks are allowed at the same time; an exclusive lock allows no other.

    Returns:
        The open file, to read and to append to; the lock is held until it is closed. None if the time is over.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        file = _open_or_create(path)
        try:
            if not _acquire(file, deadline, shared=shared):
                file.close()
                return None
            if _is_named(file, path):
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _open_or_create(path: Path) -> IO[str]:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return path.open("a+")
        except FileNotFoundError:
            if path.parent.is_dir():
                raise
            # The folder was deleted in between.


def _acquire(file: IO[str], deadline: float | None, *, shared: bool) -> bool:
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    if deadline is None:
        fcntl.flock(file, kind)
        return True
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)


def _is_named(file: IO[str], path: Path) -> bool:
    """Tells whether the path still names the open file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Holds an exclusive lock on a file; creates the file if needed and waits for another holder without a limit."""
    file = open_locked(path)
    assert file is not None
    with file:
        yield


def is_held(path: Path) -> bool:
    """Tells whether another open file holds an exclusive lock on the file; False if there is no file.

    A lock that cannot be tested counts as held, because what is held must not be touched.
    """
    while True:
        try:
            with path.open("r") as file:
                is_free = _share(file)
                if _is_named(file, path):
                    return not is_free
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True


def _share(file: IO[str]) -> bool:
    """Takes a shared lock if no other open file has an exclusive one."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def holders(path: Path) -> list[int]:
    """Returns the ids of the processes that hold a lock on the file and have it open; empty except on Linux."""
    found = []
    with contextlib.suppress(OSError):
        status = path.stat()
        for line in _LOCKS.read_text().splitlines():
            fields = line.split()
            if len(fields) < 8 or fields[1] != "FLOCK":
                continue
            pid, inode = int(fields[4]), fields[5].rpartition(":")[2]
            if pid > 0 and pid != os.getpid() and inode == str(status.st_ino) and _has_open(pid, status):
                found.append(pid)
    return sorted(set(found))


def _has_open(pid: int, status: os.stat_result) -> bool:
    with contextlib.suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if os.path.samestat(descriptor.stat(), status):
                    return True
    return False
