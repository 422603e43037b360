"""The report of a running study is published again and again, and takes only a small part of the time."""

import time
from pathlib import Path
from typing import Any

import pytest

from rnnexp.commands import study_report
from rnnexp.commands.study_report import ReportThread
from tests.study.fakes import FakeExecutor
from tests.study.small_study import Study


@pytest.fixture
def study(tmp_path: Path) -> Study:
    found = Study(tmp_path)
    found.run(FakeExecutor())
    return found


def publish_every(monkeypatch: pytest.MonkeyPatch, seconds: float, publish: Any) -> None:
    monkeypatch.setattr(study_report, "_EVERY_S", seconds)
    monkeypatch.setattr(study_report, "publish", publish)


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_is_published_while_the_study_runs(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    published: list[str] = []
    publish_every(monkeypatch, 0.05, lambda home, view, began: published.append(view.name))
    thread = ReportThread(study.home, "s", 1.0)
    wait_for(lambda: len(published) >= 2)
    thread.close()
    n_published = len(published)
    time.sleep(0.2)
    assert len(published) == n_published, "nothing is published after the end"


def test_a_failure_is_tried_again_later(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []

    def fail(*arguments: Any) -> None:
        tries.append(1)
        raise OSError("no route to the server")

    publish_every(monkeypatch, 0.05, fail)
    thread = ReportThread(study.home, "s", 1.0)
    wait_for(lambda: len(tries) >= 2)
    thread.close()


def test_a_study_without_a_result_has_no_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, published = Study(tmp_path), []
    publish_every(monkeypatch, 0.05, lambda *arguments: published.append(1))
    thread = ReportThread(study.home, "s", 1.0)
    time.sleep(0.3)
    thread.close()
    assert published == []


def test_a_slow_report_is_published_less_often(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second of processor time a minute: after one that took n times as much, it waits n times as long."""
    waits: list[float] = []
    clock = iter([0.0, 5.0, 5.0, 5.5])
    monkeypatch.setattr(study_report.time, "thread_time", lambda: next(clock))
    monkeypatch.setattr(study_report, "publish", lambda *arguments: None)

    class Closing:
        def wait(self, seconds: float) -> bool:
            waits.append(seconds)
            return len(waits) == 3

    thread = object.__new__(ReportThread)
    thread._home, thread._study, thread._began = study.home, "s", 1.0
    thread._is_closing = Closing()  # type: ignore[assignment]
    thread._run()
    assert waits == [60.0, 300.0, 60.0]
