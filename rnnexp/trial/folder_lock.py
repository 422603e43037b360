"""The lock of a trial's folder: its process holds it, so that an orphan and its successor never write to one folder."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from rnnexp import locks
from rnnexp.home import TrialFolder
from rnnexp.process_identity import identity

_LOCK_TIMEOUT_S = 15
"""An orphan terminates at once; one that holds the lock of its folder for longer hangs."""


@contextlib.contextmanager
def hold_folder_lock(folder: TrialFolder) -> Iterator[bool]:
    """Holds the lock of the folder and yields True; yields False if another process holds it for too long.

    An orphan of an earlier supervisor may need a moment to terminate.
    """
    file = locks.open_locked(folder.lock, _LOCK_TIMEOUT_S)
    if file is None:
        yield False
        return
    with file:
        _record_holder(file)
        yield True


def _record_holder(file: IO[str]) -> None:
    """Writes into the lock's file which process holds it, for systems without a list of locks."""
    holder = identity(os.getpid())
    with contextlib.suppress(OSError):
        os.ftruncate(file.fileno(), 0)
        if holder is not None:
            os.write(file.fileno(), f"{os.getpid()} {holder.started}".encode())


def lock_holders(lock: Path) -> list[int]:
    """Returns the ids of the processes that hold the lock of a trial's folder; empty if they are unknown.

    The caller has found that the lock is held.
    """
    found = locks.holders(lock)
    if found:
        return found
    with contextlib.suppress(OSError, ValueError):
        pid, started = lock.read_text(encoding="utf-8").split()
        holder = identity(int(pid))
        # The id of an ended process may belong to another one now, which has a later start.
        if int(pid) != os.getpid() and holder is not None and holder.started == started:
            return [int(pid)]
    return []


def wait_for_lock_release(folder: TrialFolder) -> None:
    """Waits until no process uses the folder; kills a process that hangs.

    Only the holder of the study's lock may call this: a process that still writes to the folder is then an orphan.
    """
    if not folder.lock.exists():
        return
    file = locks.open_locked(folder.lock, _LOCK_TIMEOUT_S)
    if file is None:
        for pid in lock_holders(folder.lock):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        file = locks.open_locked(folder.lock, _LOCK_TIMEOUT_S)
    if file is not None:
        file.close()
