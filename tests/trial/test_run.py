"""What a trial's process does around the training, without TensorFlow."""

import fcntl
import time
from pathlib import Path
from typing import Any

import pytest

from rnnexp.config.trial import TrialConfig
from rnnexp.home import TrialFolder
from rnnexp.trial import events, run
from rnnexp.trial.events import Failed, Finished


class _Pipe:
    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, message: Any) -> None:
        self.sent.append(message)


@pytest.fixture
def line(tmp_path: Path) -> run._Line:
    job = run.TrialJob(TrialConfig(), TrialFolder(tmp_path), tmp_path, 1, 1, "s · trial 0")
    return run._Line(job, _Pipe())


def test_what_fails_after_the_result_takes_it_not_back(line: run._Line, tmp_path: Path) -> None:
    line.tell(Finished(1.0, "epochs", 1, {}, 10, 1.0))
    with pytest.raises(SystemExit):
        run._fail(line, ValueError("no picture"))
    assert [type(event) for event in events.read(TrialFolder(tmp_path).events)] == [Finished]


def test_what_fails_before_is_the_last_word(line: run._Line, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        run._fail(line, ValueError("broken"))
    (failed,) = events.read(TrialFolder(tmp_path).events)
    assert isinstance(failed, Failed)
    assert failed.reason == "ValueError: broken"
    assert "ValueError: broken" in failed.traceback


def test_whoever_takes_over_waits_for_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_LOCK_PATIENCE_S", 0.3)
    folder = TrialFolder(tmp_path)
    began = time.monotonic()
    run.await_end(folder)
    folder.lock.touch()
    run.await_end(folder)
    assert time.monotonic() - began < 0.2
    with folder.lock.open("w") as orphan:
        fcntl.flock(orphan, fcntl.LOCK_EX)
        began = time.monotonic()
        run.await_end(folder)
        assert time.monotonic() - began >= 0.3
