"""The report of a running study is published again and again, and takes only a small part of the time."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from rnnexp.commands import report_thread, study_record, study_report
from rnnexp.commands.report_thread import ReportThread
from rnnexp.trial.cursor import Cursor
from tests.study.fakes import FakeExecutor
from tests.study.small_study import Study


@pytest.fixture
def study(tmp_path: Path) -> Study:
    found = Study(tmp_path)
    found.run(FakeExecutor())
    return found


def publish_every(monkeypatch: pytest.MonkeyPatch, seconds: float, publish: Any) -> None:
    monkeypatch.setattr(report_thread, "_EVERY_S", seconds)
    monkeypatch.setattr(study_report, "publish", publish)


class Check:
    """A process that checks a bundle until it is ended."""

    def __init__(self, *_: Any) -> None:
        self.ended = threading.Event()

    def kill(self) -> None:
        self.ended.set()


def start_with_models(study: Study, monkeypatch: pytest.MonkeyPatch, write_bundle: Any, log_model: Any) -> ReportThread:
    """Starts the thread of a study whose trials have runs, on a machine that may log models meanwhile."""
    for number in range(4):
        Cursor(f"run-{number}", 1).save(study.home.study("s").trial(number).tracking)
    publish_every(monkeypatch, 0.05, lambda *arguments: None)
    monkeypatch.setattr(study_record, "write_bundle", write_bundle)
    monkeypatch.setattr(study_record, "log_model", log_model)
    monkeypatch.setattr(report_thread, "CheckProcess", Check)
    monkeypatch.setattr(report_thread.local, "n_cores", lambda: 2)
    monkeypatch.setattr(report_thread.devices, "gpu_is_possible", lambda: False)
    return ReportThread(study.home, "s", 1.0)


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
    monkeypatch.setattr(report_thread.time, "thread_time", lambda: next(clock))
    monkeypatch.setattr(study_report, "publish", lambda *arguments: None)

    class Closing:
        def wait(self, seconds: float) -> bool:
            waits.append(seconds)
            return len(waits) == 3

    thread = object.__new__(ReportThread)
    thread._home, thread._study, thread._began = study.home, "s", 1.0
    thread._is_closing, thread._with_models = Closing(), False  # type: ignore[assignment]
    thread._run()
    assert waits == [60.0, 300.0, 60.0]


def test_the_models_of_the_best_trials_are_logged_one_after_another(
    study: Study, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    logged: list[int] = []

    def write_bundle(home: Any, view: Any, row: Any, process: Any) -> Path:
        (tmp_path / "bundle").mkdir()
        return tmp_path / "bundle"

    def log_model(home: Any, view: Any, row: Any, bundle: Path, alias: str | None) -> None:
        assert alias is None, "only the best one is registered, at the end"
        logged.append(row.number)
        if row.number == 1:
            raise OSError("no route to the server")

    thread = start_with_models(study, monkeypatch, write_bundle, log_model)
    wait_for(lambda: len(logged) == 3)
    time.sleep(0.2)
    thread.close()
    assert logged == [row.number for row in study.view.ranked[:3]], "each once"
    assert not (tmp_path / "bundle").exists()


def test_a_model_that_is_being_checked_at_the_end_is_left(
    study: Study, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    checked: list[Check] = []
    logged: list[int] = []

    def write_bundle(home: Any, view: Any, row: Any, process: Check) -> Path:
        checked.append(process)
        assert process.ended.wait(20)
        (tmp_path / "bundle").mkdir()  # it was ended a moment too late: the bundle is complete
        return tmp_path / "bundle"

    thread = start_with_models(
        study, monkeypatch, write_bundle, lambda home, view, row, *_, **__: logged.append(row.number)
    )
    wait_for(lambda: checked)
    thread.close()
    assert not thread._thread.is_alive()
    assert logged == []
    assert not (tmp_path / "bundle").exists()
