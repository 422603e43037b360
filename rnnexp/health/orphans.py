"""Finds trial processes without a supervisor: they hold their trial's lock, but no process holds the study's lock."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from rnnexp import locks
from rnnexp.errors import WorkError
from rnnexp.health import studies
from rnnexp.health.finding import Finding
from rnnexp.health.studies import Observation
from rnnexp.trial.folder_lock import lock_holders

CHECK = "orphans"
_KILL_TIMEOUT_S = 10


def check(observed: Observation) -> Iterator[Finding]:
    """Checks the locks of all trials, except those of running studies."""
    home = observed.home
    for name in observed.idle_folders():
        for number in observed.numbers(name):
            lock = home.study(name).trial(number).lock
            if not locks.is_held(lock):
                continue
            where, pids = f"{name} trial {number}", lock_holders(lock)
            if pids:
                what = f"process {', '.join(map(str, pids))} works in its folder without a supervisor"
                fix = studies.with_study_lock(home, name, lambda lock=lock: kill_holders(lock))  # type: ignore[misc]
                repair = "the process is killed; the trial resumes from its last epoch"
                yield Finding(CHECK, where, what, repair, fix)
            else:
                yield Finding(CHECK, where, "a process works in its folder and cannot be identified; end that process")


def kill_holders(lock: Path) -> str:
    """Kills the processes that hold a lock now, and waits until the lock is free.

    Raises:
        WorkError: if the lock is not released in time.
    """
    pids = lock_holders(lock)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + _KILL_TIMEOUT_S
    while locks.is_held(lock):
        if time.monotonic() > deadline:
            raise WorkError(f"{lock} is still held")
        time.sleep(0.05)
    return f"killed process {', '.join(map(str, pids))}" if pids else "the process had already ended"
