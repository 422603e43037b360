"""The process of a trial around the training, without TensorFlow."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from rnnexp.config.trial import TrialConfig
from rnnexp.home import TrialFolder
from rnnexp.trial import events, process
from rnnexp.trial.events import Failed, Finished, Started

DATA = {"name": "fake", "n_train": 8, "n_validation": 2}


class _Pipe:
    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, message: Any) -> None:
        self.sent.append(message)


@pytest.fixture
def reporter(tmp_path: Path) -> process.EventReporter:
    job = process.TrialJob(TrialConfig(), TrialFolder(tmp_path), tmp_path, 1, 1, "s · trial 0")
    return process.EventReporter(job, _Pipe())


def test_an_error_after_the_result_does_not_replace_it(reporter: process.EventReporter, tmp_path: Path) -> None:
    reporter.report(Finished(1.0, "epochs", 1, {}, 10, 1.0))
    with pytest.raises(SystemExit):
        process._fail(reporter, ValueError("no figure"))
    assert [type(event) for event in events.read(TrialFolder(tmp_path).events)] == [Finished]


def test_an_error_before_the_result_is_the_last_event(reporter: process.EventReporter, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        process._fail(reporter, ValueError("broken"))
    (failed,) = events.read(TrialFolder(tmp_path).events)
    assert isinstance(failed, Failed)
    assert failed.reason == "ValueError: broken"
    assert "ValueError: broken" in failed.traceback


def test_a_new_supervisor_waits_for_the_folder(tmp_path: Path) -> None:
    folder = TrialFolder(tmp_path)
    process.wait_for_lock_release(folder)
    assert not folder.lock.exists()
    orphan = folder.lock.open("w")
    fcntl.flock(orphan, fcntl.LOCK_EX)
    ending = threading.Timer(0.5, orphan.close)
    ending.start()
    process.wait_for_lock_release(folder)
    assert orphan.closed
    ending.join()


HOLDER = """
import fcntl, sys, time
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who holds a lock")
def test_an_orphan_that_hangs_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = TrialFolder(tmp_path)
    monkeypatch.setattr(process, "_LOCK_TIMEOUT_S", 0.5)
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(folder.lock)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        os.kill(holder.pid, signal.SIGSTOP)
        process.wait_for_lock_release(folder)
        assert holder.wait(5) == -signal.SIGKILL


def test_the_start_names_the_study(tmp_path: Path) -> None:
    job = process.TrialJob(TrialConfig(), TrialFolder(tmp_path), tmp_path, 1, 1, "s · trial 0", study="identity")
    process.EventReporter(job, _Pipe()).report(Started(1.0, 1, 0, 1, 10, DATA, {}))
    (started,) = events.read(TrialFolder(tmp_path).events)
    assert isinstance(started, Started)
    assert started.study == "identity"
