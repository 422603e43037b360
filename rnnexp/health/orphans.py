"""Trials' processes that nobody supervises: they hold their folder's lock while nobody holds the study's."""

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
from rnnexp.home import Home

CHECK = "orphans"
_PATIENCE_S = 10


def check(home: Home) -> Iterator[Finding]:
    """Looks at the locks of all trials of the studies that nobody runs."""
    busy = set(studies.running(home))
    for name in studies.folders(home):
        folder = home.study(name)
        for number in folder.numbers():
            lock = folder.trial(number).lock
            if name in busy or not locks.is_held(lock):
                continue
            where, pids = f"{name} trial {number}", locks.holders(lock)
            if pids:
                what = f"process {', '.join(map(str, pids))} works in its folder, and nobody supervises it"
                fix = studies.held(home, name, lambda lock=lock: end(lock))  # type: ignore[misc]
                yield Finding(CHECK, where, what, "the process is ended; the trial goes on from its last epoch", fix)
            else:
                yield Finding(CHECK, where, "a process that cannot be told from here works in its folder; end it")


def end(lock: Path) -> str:
    """Ends the processes that hold a lock, looked up anew, and waits until it is free."""
    pids = locks.holders(lock)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + _PATIENCE_S
    while locks.is_held(lock):
        if time.monotonic() > deadline:
            raise WorkError(f"{lock} is still held")
        time.sleep(0.05)
    return f"ended process {', '.join(map(str, pids))}" if pids else "it had ended"
