"""The failure policy: each kind of failure in a running study, and the functions that decide."""

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rnnexp.errors import DataError
from rnnexp.storage.store import StudyStore
from rnnexp.study import failures
from rnnexp.study.failures import (
    FAILURE_POLICY,
    FailureKind,
)
from rnnexp.study.records import TrialRecords
from rnnexp.trial.process import DISK_FULL
from rnnexp.trial.states import State
from tests.study.fakes import FakeExecutor
from tests.study.small_study import Study

TOP = Path(__file__).resolve().parents[2]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


def _fails(study: Study, executor: FakeExecutor, reason: str, **settings: Any) -> None:
    study.run(executor, **settings)
    row = study.view.trials[0]
    assert row.state is State.FAIL
    assert reason in (row.reason or "")
    assert row.attempts == 1, "a failure that would repeat is not retried"
    assert study.states()[1:] == [State.COMPLETE] * 3, "the other trials run"


def _is_retried(study: Study, executor: FakeExecutor, reason: str, **settings: Any) -> None:
    study.run(executor, limits__retries=2, **settings)
    row = study.view.trials[0]
    assert (row.state, row.attempts) == (State.FAIL, 3)
    assert reason in (row.reason or "")
    assert ", 3 times" in (row.reason or "")
    assert study.states()[1:] == [State.COMPLETE] * 3, "the other trials run"


def _is_requeued(study: Study, **settings: Any) -> None:
    assert State.RUNNING not in study.states()
    assert study.view.trials[0].state is State.WAITING
    study.run(FakeExecutor(), limits__retries=0, **settings)
    assert study.states() == [State.COMPLETE] * 4
    assert study.view.trials[0].attempts == 2


def _exception(study: Study) -> None:
    executor = FakeExecutor()
    executor.bugs = {0}
    _fails(study, executor, "ValueError: broken")


def _divergence(study: Study) -> None:
    executor = FakeExecutor()
    executor.failures = {0: ("diverged", "diverged at epoch 1: loss is nan")}
    study.run(executor)
    row = study.view.trials[0]
    assert (row.state, row.value, row.best_epoch, row.attempts) == (State.PRUNED, None, None, 1)
    assert row.reason == "diverged at epoch 1: loss is nan"
    assert study.states()[1:] == [State.COMPLETE] * 3, "the other trials run"


def _unfit_environment(study: Study) -> None:
    executor = FakeExecutor()
    executor.refuses, executor.never_starts = {0: 2}, {1: [1]}
    study.run(executor, limits__retries=0, limits__consecutive_failures=1)
    assert study.states() == [State.COMPLETE] * 4


def _data_error(study: Study) -> None:
    def prepare(config: Any) -> Path:
        if not first:
            first.append(config)
            raise DataError("reviews: too few rows")
        return Path()

    first: list[Any] = []
    study.prepare = prepare
    _fails(study, FakeExecutor(), "reviews: too few rows")


def _time_limit(study: Study) -> None:
    executor = FakeExecutor()
    executor.endless = {0}
    _fails(study, executor, "exceeded its time limit of 0.3 s (limits.trial_s)", limits__trial_s=0.3)


def _ignored_stop_request(study: Study) -> None:
    executor = FakeExecutor()
    executor.endless = {0}
    requests = study.home.study("s").stop_requests
    requests.mkdir(parents=True)
    (requests / "0").touch()
    executor.on_submit = lambda number: (requests / "0").touch()
    _fails(study, executor, "stopped by hand")


def _crash(study: Study) -> None:
    executor = FakeExecutor()
    executor.n_crashes = {0: [1, 1, 1]}
    _is_retried(study, executor, "its process was killed by SIGKILL")


def _memory_limit(study: Study) -> None:
    executor = FakeExecutor()
    executor.endless = {0}
    executor.memory = {0: 5 * 2**30}
    _is_retried(study, executor, "use fewer --workers or a smaller batch_size", limits__memory_gb=2.0)


def _hang(study: Study) -> None:
    executor = FakeExecutor()
    executor.endless = {0}
    _is_retried(study, executor, "no epoch and no heartbeat for 0.2 s", limits__silence_s=0.2)


def _full_disk(study: Study) -> None:
    executor = FakeExecutor()
    executor.exits = {0: DISK_FULL}
    outcome = study.run(executor)
    assert "the disk is full" in outcome.halt_reason
    assert "rnnexp doctor" in outcome.halt_reason
    _is_requeued(study)


def _interruption(study: Study) -> None:
    executor = FakeExecutor()
    executor.endless = {0}
    outcome = study.run(executor, signals={(1, 1): signal.SIGTERM})
    assert outcome.signal == signal.SIGTERM
    _is_requeued(study)


def _dead_supervisor(study: Study) -> None:
    dead = StudyStore.open(study.home, study.config(), "digest")
    assert dead.ask() is not None
    study.run(FakeExecutor(), limits__retries=0)
    assert study.states() == [State.COMPLETE] * 4
    assert study.view.trials[0].attempts == 2


def _lost_slot(study: Study) -> None:
    executor = FakeExecutor()
    executor.loses_slot = {0: 1}
    study.run(executor, limits__retries=0)
    assert study.states() == [State.COMPLETE] * 4
    assert study.view.trials[0].attempts == 2


SCENARIOS: dict[FailureKind, Callable[[Study], None]] = {
    FailureKind.ERROR: _exception,
    FailureKind.DIVERGED: _divergence,
    FailureKind.DATA: _data_error,
    FailureKind.TIME: _time_limit,
    FailureKind.STOPPED: _ignored_stop_request,
    FailureKind.ENVIRONMENT: _unfit_environment,
    FailureKind.KILLED: _crash,
    FailureKind.MEMORY: _memory_limit,
    FailureKind.HEARTBEAT_TIMEOUT: _hang,
    FailureKind.DISK: _full_disk,
    FailureKind.INTERRUPTED: _interruption,
    FailureKind.SUPERVISOR_LOST: _dead_supervisor,
    FailureKind.SLOT_LOST: _lost_slot,
}


@pytest.mark.integration
@pytest.mark.parametrize("kind", list(FailureKind))
def test_each_kind_is_handled_as_the_policy_says(
    study: Study, kind: FailureKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rnnexp.study.limits.STOP_TIMEOUT_S", 0.2)
    monkeypatch.setattr("rnnexp.study.limits.RESOURCE_CHECK_INTERVAL_S", 0.01)
    SCENARIOS[kind](study)


def test_every_kind_has_a_rule_and_the_documentation_has_the_table() -> None:
    assert set(FAILURE_POLICY) == set(FailureKind)
    assert failures.markdown() in (TOP / "docs" / "failures.md").read_text(encoding="utf-8")


def test_too_many_consecutive_failures_stop_the_sweep_with_their_common_reason(study: Study) -> None:
    executor = FakeExecutor(n_slots=1)
    executor.bugs = set(range(20))
    outcome = study.run(executor, budget__trials=20, limits__consecutive_failures=3)
    assert study.states() == [State.FAIL] * 3
    assert "3 consecutive trials failed: ValueError: broken" in outcome.halt_reason
    assert "limits.consecutive_failures" in outcome.halt_reason
    study.run(FakeExecutor(), budget__trials=5)
    assert study.states() == [State.FAIL] * 3 + [State.COMPLETE] * 2


def test_failures_with_a_success_between_them_do_not_stop_the_sweep(study: Study) -> None:
    executor = FakeExecutor(n_slots=1)
    executor.bugs = {0, 1, 3, 4}
    outcome = study.run(executor, budget__trials=6, limits__consecutive_failures=3)
    assert not outcome.halt_reason
    assert study.view.n_finished == 6


def test_a_full_disk_stops_the_sweep_and_loses_no_finished_trial(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full at each of the supervisor's writes in turn; the next start resumes the study."""
    append, appended = TrialRecords.append, []

    def failing_append(self: TrialRecords, number: int, event: Any) -> None:
        appended.append(event)
        if len(appended) == failing_write:
            path = self.folder.trial(number).events
            with path.open("ab") as file:
                file.write(b'{"event": "clo')  # the part that fits on the disk
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append(self, number, event)

    monkeypatch.setattr(TrialRecords, "append", failing_append)
    for failing_write in range(1, 5):
        appended.clear()
        outcome = study.run(FakeExecutor(), budget__trials=4 * failing_write)
        assert "the disk is full" in outcome.halt_reason
        before = [row for row in study.view.trials if row.state is State.COMPLETE]
        assert before
        study.run(FakeExecutor(), budget__trials=4 * failing_write)
        rows = study.view.trials
        assert [row for row in rows if row in before] == before
        assert [row.state for row in rows] == [State.COMPLETE] * 4 * failing_write


def test_the_sweep_stops_before_the_disk_is_full(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnnexp.study.limits.RESOURCE_CHECK_INTERVAL_S", 0.0)
    monkeypatch.setattr(TrialRecords, "free_bytes", lambda self: 3 * 2**20)
    outcome = study.run(FakeExecutor())
    assert "the disk is full: 3 MB are free" in outcome.halt_reason
    assert State.RUNNING not in study.states()
    monkeypatch.undo()
    study.run(FakeExecutor())
    assert study.states() == [State.COMPLETE] * 4


def test_a_process_that_does_not_exit_after_its_result_is_killed(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnnexp.study.limits.STOP_TIMEOUT_S", 0.1)
    executor = FakeExecutor()
    executor.stays = {0}
    study.run(executor)
    assert study.states() == [State.COMPLETE] * 4


def test_the_model_of_an_exported_trial_is_kept(study: Study) -> None:
    executor = FakeExecutor(n_slots=1, accuracy=lambda job, epoch: 0.5 + 0.01 * job.number)
    study.run(executor, keep__checkpoints=1, budget__trials=1)
    study.home.study("s").trial(0).exported.touch()
    executor = FakeExecutor(n_slots=1, accuracy=lambda job, epoch: 0.5 + 0.01 * job.number)
    study.run(executor, keep__checkpoints=1, budget__trials=5)
    kept = [row.number for row in study.view.trials if study.home.study("s").trial(row.number).best.exists()]
    assert kept == [0, 4]


def test_the_newest_model_is_kept_with_the_best(study: Study) -> None:
    executor = FakeExecutor(n_slots=1, accuracy=lambda job, epoch: 0.9 - 0.01 * job.number)
    study.run(executor, keep__checkpoints=2, budget__trials=5)
    kept = [row.number for row in study.view.trials if study.home.study("s").trial(row.number).best.exists()]
    assert kept == [0, 1, 4]
