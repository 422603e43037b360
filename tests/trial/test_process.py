"""The process of a trial around the training, without TensorFlow."""

import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rnnexp.config.trial import TrialConfig
from rnnexp.errors import DataError
from rnnexp.home import TrialFolder
from rnnexp.trial import events, folder_lock, process
from rnnexp.trial.answer import Answer
from rnnexp.trial.events import EpochEnded, Failed, Finished, Started
from rnnexp.trial.job import TrialJob

JOB = TrialJob(0, TrialConfig(), 1, "s · trial 0")
DATA = {"name": "fake", "n_train": 8, "n_validation": 2}


class _Pipe:
    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, message: Any) -> None:
        self.sent.append(message)


@pytest.fixture
def piped(tmp_path: Path) -> Iterator[tuple[process.EventReporter, Any]]:
    """A reporter, and the supervisor's end of its pipe."""
    supervisor, trial = multiprocessing.Pipe()
    yield process.EventReporter(JOB, TrialFolder(tmp_path), trial), supervisor
    supervisor.close()
    trial.close()


def _look_again(reporter: process.EventReporter) -> bool:
    reporter._next_look = 0.0
    return reporter.heartbeat()


def test_a_stop_request_is_noticed_at_the_next_heartbeat(piped: tuple[process.EventReporter, Any]) -> None:
    reporter, supervisor = piped
    assert _look_again(reporter)
    supervisor.send(process.StopRequest())
    assert not _look_again(reporter)
    assert not reporter.heartbeat(), "it stays stopped"


def test_a_heartbeat_looks_for_a_request_only_now_and_then(piped: tuple[process.EventReporter, Any]) -> None:
    reporter, supervisor = piped
    assert _look_again(reporter)
    supervisor.send(process.StopRequest())
    started, n_heartbeats = time.monotonic(), 0
    while reporter.heartbeat():
        n_heartbeats += 1
        assert time.monotonic() - started < 5
    assert time.monotonic() - started > 0.9 * process._LOOK_INTERVAL_S
    assert n_heartbeats > 1000


def test_a_number_of_threads_is_used_from_the_next_look_on(piped: tuple[process.EventReporter, Any]) -> None:
    reporter, supervisor = piped
    used: list[int] = []
    supervisor.send(process.UseThreads(7))
    assert _look_again(reporter), "before the trial has a network, it is ignored"
    reporter.use_threads = used.append
    supervisor.send(process.UseThreads(2))
    assert _look_again(reporter)
    for message in (process.UseThreads(1), Answer.END):
        supervisor.send(message)
    assert reporter.report(EpochEnded(1.0, 1, {}, 0.1, 1, 0.5)) is Answer.END, "it is not the answer"
    assert used == [2, 1]


def test_a_stop_request_before_an_answer_is_not_the_answer(piped: tuple[process.EventReporter, Any]) -> None:
    reporter, supervisor = piped
    for message in (process.StopRequest(), Answer.PAUSE):
        supervisor.send(message)
    assert reporter.report(EpochEnded(1.0, 1, {}, 0.1, 1, 0.5)) is Answer.PAUSE
    assert not reporter.heartbeat()


@pytest.fixture
def reporter(tmp_path: Path) -> process.EventReporter:
    return process.EventReporter(JOB, TrialFolder(tmp_path), _Pipe())


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


@pytest.mark.parametrize(
    ("error", "before", "later"),
    [
        (OSError(11, "Resource temporarily unavailable"), "environment", "error"),
        (ValueError("broken"), "error", "error"),
        (MemoryError(), "memory", "memory"),
        (DataError("reviews: too few rows"), "data", "data"),
    ],
)
def test_an_error_of_the_system_before_the_training_is_that_of_the_environment(
    error: Exception, before: str, later: str
) -> None:
    assert process._kind(error, has_trained=False) == before
    assert process._kind(error, has_trained=True) == later


def test_a_new_supervisor_waits_for_the_folder(tmp_path: Path) -> None:
    folder = TrialFolder(tmp_path)
    folder_lock.wait_for_lock_release(folder)
    assert not folder.lock.exists()
    orphan = folder.lock.open("w")
    fcntl.flock(orphan, fcntl.LOCK_EX)
    ending = threading.Timer(0.5, orphan.close)
    ending.start()
    folder_lock.wait_for_lock_release(folder)
    assert orphan.closed
    ending.join()


HOLDER = """
import fcntl, sys, time
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(600)
"""


ATTEMPT = """
import pathlib, sys
from rnnexp.config.trial import TrialConfig
from rnnexp.home import TrialFolder
from rnnexp.trial import folder_lock, process
from rnnexp.trial.job import Place, Share, TrialJob

class Pipe:
    def send(self, message):
        print("sent", message, flush=True)

folder_lock._LOCK_TIMEOUT_S = float(sys.argv[2])
folder = TrialFolder(pathlib.Path(sys.argv[1]))
process.main(TrialJob(0, TrialConfig(), 1, "s"), Place(folder, folder.root / "nowhere"), Share(), Pipe(), False)
"""


def _attempt(root: Path, timeout_s: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", ATTEMPT, str(root), str(timeout_s)], capture_output=True, text=True, timeout=60
    )


def test_a_process_without_the_lock_of_its_folder_writes_no_event(tmp_path: Path) -> None:
    folder = TrialFolder(tmp_path)
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(folder.lock)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        try:
            done = _attempt(tmp_path, 0.3)
            assert done.returncode == process.LOCKED
            assert not folder.events.exists()
            assert "sent" not in done.stdout
            assert "another process works in this folder" in folder.log.read_text()
            assert holder.poll() is None
        finally:
            holder.kill()
    assert _attempt(tmp_path, 0.3).returncode == 1
    (failed,) = events.read(folder.events)
    assert isinstance(failed, Failed)
    assert failed.kind == "data", "with the lock, it reports what is wrong"


RECORDING_HOLDER = """
import pathlib, sys, time
from rnnexp.home import TrialFolder
from rnnexp.trial import folder_lock

with folder_lock.hold_folder_lock(TrialFolder(pathlib.Path(sys.argv[1]))) as is_locked:
    print(is_locked, flush=True)
    time.sleep(600)
"""


def test_an_orphan_is_found_by_the_lock_file_where_the_system_has_no_list_of_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = TrialFolder(tmp_path)
    monkeypatch.setattr(folder_lock.locks, "holders", lambda path: [])
    monkeypatch.setattr(folder_lock, "_LOCK_TIMEOUT_S", 0.3)
    with subprocess.Popen([sys.executable, "-c", RECORDING_HOLDER, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"True\n"
        try:
            assert _attempt(tmp_path, 0.1).returncode == process.LOCKED
            assert folder_lock.lock_holders(folder.lock) == [holder.pid], (
                "a process that waits does not change the file"
            )
            folder_lock.wait_for_lock_release(folder)
            assert holder.wait(5) == -signal.SIGKILL
        finally:
            holder.kill()


def test_a_later_process_with_the_number_of_the_holder_is_not_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = TrialFolder(tmp_path).lock
    monkeypatch.setattr(folder_lock.locks, "holders", lambda path: [])
    for content in ("", "1", "1 2 3", f"{os.getppid()} 12.5", f"{2**22 + 1} 12.5", "x y"):
        lock.write_text(content)
        assert folder_lock.lock_holders(lock) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who holds a lock")
def test_an_orphan_that_hangs_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = TrialFolder(tmp_path)
    monkeypatch.setattr(folder_lock, "_LOCK_TIMEOUT_S", 0.5)
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(folder.lock)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        os.kill(holder.pid, signal.SIGSTOP)
        folder_lock.wait_for_lock_release(folder)
        assert holder.wait(5) == -signal.SIGKILL


def test_the_start_names_the_study(tmp_path: Path) -> None:
    job = replace(JOB, study="identity")
    process.EventReporter(job, TrialFolder(tmp_path), _Pipe()).report(Started(1.0, 1, 0, 1, 10, DATA, {}))
    (started,) = events.read(TrialFolder(tmp_path).events)
    assert isinstance(started, Started)
    assert started.study == "identity"
