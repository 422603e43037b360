"""`rnnexp stop STUDY TRIAL`: how the supervisor ends one trial."""

import time
from pathlib import Path
from typing import Any

import pytest

from rnnexp.trial.process import Heartbeat
from rnnexp.trial.states import State
from tests.study.fakes import FakeExecutor
from tests.study.small_study import Study


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


def test_a_stop_request_ends_one_trial_with_its_result(study: Study) -> None:
    executor = FakeExecutor()
    requests = study.home.study("s").stop_requests
    requests.mkdir(parents=True)

    def request(number: int, epoch: int) -> None:
        (requests / "0").touch()

    executor.on_epoch = request
    study.run(executor, train__epochs=30)
    row = study.view.trials[0]
    assert (row.state, row.reason) == (State.PRUNED, "stopped by hand")
    assert row.value is not None
    assert [row.state for row in study.view.trials[1:]] == [State.COMPLETE] * 3
    assert list(requests.iterdir()) == []


def test_a_trial_that_is_stopped_does_not_finish_its_epoch_and_keeps_its_result(study: Study) -> None:
    executor = FakeExecutor()
    requests = study.home.study("s").stop_requests
    requests.mkdir(parents=True)

    def request(number: int, epoch: int) -> None:
        if (number, epoch) == (0, 2):
            executor.slow.add(0)  # its third epoch takes hours
            (requests / "0").touch()

    executor.on_epoch = request
    started = time.monotonic()
    study.run(executor)
    assert time.monotonic() - started < 15
    row = study.view.trials[0]
    assert (row.state, row.reason, row.best_epoch) == (State.PRUNED, "stopped by hand", 2)
    assert row.value == pytest.approx(0.52)
    assert study.home.study("s").trial(0).best.exists()
    assert study.states()[1:] == [State.COMPLETE] * 3


def test_a_trial_that_is_stopped_in_its_first_epoch_fails_and_is_no_failure_of_the_sweep(study: Study) -> None:
    executor = FakeExecutor()
    executor.slow = {0}
    requests = study.home.study("s").stop_requests
    requests.mkdir(parents=True)
    executor.on_epoch = lambda number, epoch: (requests / "0").touch()
    outcome = study.run(executor, limits__consecutive_failures=1)
    assert not outcome.halt_reason
    row = study.view.trials[0]
    assert (row.state, row.reason, row.value) == (State.FAIL, "stopped by hand", None)
    assert not study.home.study("s").trial(0).best.exists()


def test_a_stopped_trial_that_still_sends_heartbeats_is_not_killed(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The processing of a batch may take long; only a process that sends nothing hangs."""
    monkeypatch.setattr("rnnexp.study.limits.STOP_TIMEOUT_S", 0.3)
    executor = FakeExecutor(n_slots=1)
    executor.endless = {0}
    requests = study.home.study("s").stop_requests
    requests.mkdir(parents=True)
    executor.on_submit = lambda number: (requests / "0").touch()
    started, poll = time.monotonic(), executor.poll

    def poll_with_heartbeats(timeout_s: float) -> list[Any]:
        seconds = time.monotonic() - started
        if seconds < 1.0:
            return [*poll(timeout_s), (0, Heartbeat())]
        if executor.endless:
            executor.endless.clear()
            executor._epoch(0)
        return poll(timeout_s)

    monkeypatch.setattr(executor, "poll", poll_with_heartbeats)
    study.run(executor)
    row = study.view.trials[0]
    assert (row.state, row.reason, row.best_epoch) == (State.PRUNED, "stopped by hand", 1)


def test_a_trial_that_ignores_a_stop_request_is_killed(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnnexp.study.limits.STOP_TIMEOUT_S", 0.2)
    executor = FakeExecutor()
    executor.endless = {0}
    requests = study.home.study("s").stop_requests
    requests.mkdir(parents=True)
    executor.on_epoch = lambda number, epoch: (requests / "0").touch()
    study.run(executor)
    assert study.states() == [State.FAIL, State.COMPLETE, State.COMPLETE, State.COMPLETE]
    assert study.view.trials[0].reason == "stopped by hand"
