"""File locks. Only this module calls `flock`. On Linux it also finds the processes that hold a lock.

A lock belongs to an open file. It is released when the file is closed, so also when its process dies.
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


def acquire(file: IO[str], timeout_s: float, *, shared: bool = False) -> bool:
    """Takes a lock on an open file.

    Args:
        file: stays locked until it is closed.
        timeout_s: how long to wait for another holder; 0 tries once.
        shared: whether other shared locks are allowed at the same time; an exclusive lock allows no other.

    Returns:
        Whether the lock was taken in time.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_S)


def open_locked(path: Path, timeout_s: float, *, shared: bool = False) -> IO[str] | None:
    """Opens a lock file and takes its lock; creates the file and its folder if they are missing.

    Args:
        path: the lock file.
        timeout_s: how long to wait for another holder; 0 tries once.
        shared: whether other shared locks are allowed at the same time.

    Returns:
        The open file, to read and to append to; the lock is held until it is closed. None if the time is over.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+")
    if acquire(file, timeout_s, shared=shared):
        return file
    file.close()
    return None


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Holds an exclusive lock on a file; creates the file if needed and waits for another holder without a limit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_held(path: Path) -> bool:
    """Tells whether another open file holds an exclusive lock on the file; False if there is no file.

    A lock that cannot be tested counts as held, because what is held must not be touched.
    """
    try:
        with path.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return False


def holders(path: Path) -> list[int]:
    """Returns the ids of the processes that hold a lock on the file and have it open; empty except on Linux."""
    status = path.stat()
    found = []
    with contextlib.suppress(OSError):
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
