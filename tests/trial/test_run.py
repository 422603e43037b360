"""A trial's process and those before it: one folder, one process."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rnnexp.home import TrialFolder
from rnnexp.trial import run

HOLDER = """
import fcntl, sys, time
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says who holds a lock")
def test_an_orphan_that_hangs_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = TrialFolder(tmp_path)
    monkeypatch.setattr(run, "_LOCK_PATIENCE_S", 0.5)
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(folder.lock)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        os.kill(holder.pid, signal.SIGSTOP)
        beats: list[float] = []
        with run._sole_owner(folder, lambda: beats.append(time.monotonic())):
            assert holder.wait(5) == -signal.SIGKILL
        assert beats, "the supervisor hears that the trial waits"
