"""The table of faults, row by row: what befalls a trial, and what becomes of it."""

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
from rnnexp.study.failures import FAILURE_POLICY, FailureAction, FailureKind
from rnnexp.study.records import TrialRecords
from rnnexp.study.supervisor import Outcome
from rnnexp.trial.process import DISK_FULL, ORPHANED
from rnnexp.trial.states import State
from tests.study.fakes import FakeExecutor
from tests.study.test_supervisor import Study

TOP = Path(__file__).resolve().parents[2]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


def _fails(study: Study, executor: FakeExecutor, reason: str, **settings: Any) -> None:
    study.run(executor, **settings)
    row = study.view.trials[0]
    assert row.state is State.FAIL
    assert reason in (row.reason or "")
    assert row.attempts == 1, "no retry for what would come to the same"
    assert study.states()[1:] == [State.COMPLETE] * 3, "the sweep goes on"


def _is_retried(study: Study, executor: FakeExecutor, reason: str, **settings: Any) -> None:
    study.run(executor, limits__retries=2, **settings)
    row = study.view.trials[0]
    assert (row.state, row.attempts) == (State.FAIL, 3)
    assert reason in (row.reason or "")
    assert ", 3 times" in (row.reason or "")
    assert study.states()[1:] == [State.COMPLETE] * 3, "the sweep goes on"


def _waits(study: Study, executor: FakeExecutor, outcome: Outcome, **settings: Any) -> None:
    assert State.RUNNING not in study.states()
    assert study.view.trials[0].state is State.WAITING
    study.run(FakeExecutor(), limits__retries=0, **settings)
    assert study.states() == [State.COMPLETE] * 4
    assert study.view.trials[0].attempts == 2


def raises(study: Study) -> None:
    executor = FakeExecutor()
    executor.bugs = {0}
    _fails(study, executor, "ValueError: broken")


def diverges(study: Study) -> None:
    executor = FakeExecutor()
    executor.failures = {0: ("diverged", "epoch 1: loss is nan")}
    _fails(study, executor, "loss is nan")


def lacks_data(study: Study) -> None:
    def prepare(config: Any) -> Path:
        if not first:
            first.append(config)
            raise DataError("reviews: too few rows")
        return Path()

    first: list[Any] = []
    study.prepare = prepare
    _fails(study, FakeExecutor(), "reviews: too few rows")


def takes_too_long(study: Study) -> None:
    executor = FakeExecutor()
    executor.endless = {0}
    _fails(study, executor, "over its limit of 0.3 s (limits.trial_s)", limits__trial_s=0.3)


def does_not_stop(study: Study) -> None:
    executor = FakeExecutor()
    executor.endless = {0}
    requests = study.home.study("s").stop_requests
    requests.mkdir(parents=True)
    (requests / "0").touch()
    executor.on_submit = lambda number: (requests / "0").touch()
    _fails(study, executor, "stopped by hand")


def dies(study: Study) -> None:
    executor = FakeExecutor()
    executor.n_crashes = {0: [1, 1, 1]}
    _is_retried(study, executor, "its process was killed by SIGKILL")


def lacks_memory(study: Study) -> None:
    executor = FakeExecutor()
    executor.endless = {0}
    executor.memory = {0: 5 * 2**30}
    _is_retried(study, executor, "fewer --workers or a smaller batch_size", limits__memory_gb=2.0)


def hangs(study: Study) -> None:
    executor = FakeExecutor()
    executor.endless = {0}
    _is_retried(study, executor, "no epoch and no sign of life for 0.2 s", limits__silence_s=0.2)


def meets_a_full_disk(study: Study) -> None:
    executor = FakeExecutor()
    executor.exits = {0: DISK_FULL}
    outcome = study.run(executor)
    assert "the disk is full" in outcome.halted
    assert "rnnexp doctor" in outcome.halted
    _waits(study, executor, outcome)


def is_interrupted(study: Study) -> None:
    executor = FakeExecutor()
    executor.endless = {0}
    outcome = study.run(executor, signals={(1, 1): signal.SIGTERM})
    assert outcome.signal == signal.SIGTERM
    _waits(study, executor, outcome)


def is_cut_off(study: Study) -> None:
    dead = StudyStore.open(study.home, study.config(), "digest")
    assert dead.ask() is not None
    study.run(FakeExecutor(), limits__retries=0)
    assert study.states() == [State.COMPLETE] * 4
    assert study.view.trials[0].attempts == 2


SCENES: dict[FailureKind, Callable[[Study], None]] = {
    FailureKind.ERROR: raises,
    FailureKind.DIVERGED: diverges,
    FailureKind.DATA: lacks_data,
    FailureKind.TIME: takes_too_long,
    FailureKind.STOPPED: does_not_stop,
    FailureKind.KILLED: dies,
    FailureKind.MEMORY: lacks_memory,
    FailureKind.HEARTBEAT_TIMEOUT: hangs,
    FailureKind.DISK: meets_a_full_disk,
    FailureKind.INTERRUPTED: is_interrupted,
    FailureKind.SUPERVISOR_LOST: is_cut_off,
}


@pytest.mark.parametrize("fault", list(FailureKind))
def test_a_row_of_the_table(study: Study, fault: FailureKind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnnexp.study.supervisor._STOP_PATIENCE_S", 0.2)
    monkeypatch.setattr("rnnexp.study.supervisor._LOOK_S", 0.01)
    SCENES[fault](study)


def test_every_fault_has_its_row_and_the_users_page_has_the_table() -> None:
    assert set(FAILURE_POLICY) == set(FailureKind)
    assert failures.markdown() in (TOP / "docs" / "failures.md").read_text(encoding="utf-8")


def test_an_exit_code_is_told_in_words() -> None:
    assert failures.of_exit(_exited(-11)) == (FailureKind.KILLED, "its process was killed by SIGSEGV")
    assert failures.of_exit(_exited(7)) == (FailureKind.KILLED, "its process ended with exit code 7")
    assert failures.of_exit(_exited(0))[0] is FailureKind.KILLED
    assert failures.of_exit(_exited(ORPHANED))[0] is FailureKind.KILLED


def _exited(code: int) -> Any:
    from rnnexp.engine.executor import Exited

    return Exited(code)


def test_what_waits_spends_no_retry() -> None:
    for fault, row in FAILURE_POLICY.items():
        assert failures.waits(fault, n_crashes=99, retries=0) == (row.then is FailureAction.WAITS)
        assert failures.waits(fault, n_crashes=0, retries=1) == (row.then is not FailureAction.FAILS)


def test_a_sweep_that_cannot_work_stops_with_the_common_reason(study: Study) -> None:
    executor = FakeExecutor(n_slots=1)
    executor.bugs = set(range(20))
    outcome = study.run(executor, budget__trials=20, limits__consecutive_failures=3)
    assert study.states() == [State.FAIL] * 3
    assert "3 trials failed one after another: ValueError: broken" in outcome.halted
    assert "limits.consecutive_failures" in outcome.halted
    study.run(FakeExecutor(), budget__trials=5)
    assert study.states() == [State.FAIL] * 3 + [State.COMPLETE] * 2


def test_failures_with_a_success_between_do_not_stop_a_sweep(study: Study) -> None:
    executor = FakeExecutor(n_slots=1)
    executor.bugs = {0, 1, 3, 4}
    outcome = study.run(executor, budget__trials=6, limits__consecutive_failures=3)
    assert not outcome.halted
    assert study.view.n_finished == 6


def test_a_disk_that_is_full_for_the_supervisor_ends_the_sweep_and_loses_nothing(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every single write of the supervisor's: nothing that has finished is lost, and the next start goes on."""
    append, written = TrialRecords.append, []

    def full(self: TrialRecords, number: int, event: Any) -> None:
        written.append(event)
        if len(written) == failing:
            path = self.folder.trial(number).events
            with path.open("ab") as file:
                file.write(b'{"event": "clo')  # what fitted
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append(self, number, event)

    monkeypatch.setattr(TrialRecords, "append", full)
    for failing in range(1, 5):
        written.clear()
        outcome = study.run(FakeExecutor(), budget__trials=4 * failing)
        assert "the disk is full" in outcome.halted
        before = [row for row in study.view.trials if row.state is State.COMPLETE]
        assert before
        study.run(FakeExecutor(), budget__trials=4 * failing)
        rows = study.view.trials
        assert [row for row in rows if row in before] == before
        assert [row.state for row in rows] == [State.COMPLETE] * 4 * failing


def test_too_little_space_ends_the_sweep_before_it_is_full(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnnexp.study.supervisor._LOOK_S", 0.0)
    monkeypatch.setattr(TrialRecords, "free_bytes", lambda self: 3 * 2**20)
    outcome = study.run(FakeExecutor())
    assert "the disk is full: 3 MB are left" in outcome.halted
    assert State.RUNNING not in study.states()
    monkeypatch.undo()
    study.run(FakeExecutor())
    assert study.states() == [State.COMPLETE] * 4


def test_a_process_that_cannot_be_started_is_tried_again(study: Study) -> None:
    executor = FakeExecutor()
    executor.refuses = {1: 2}
    study.run(executor)
    assert study.states() == [State.COMPLETE] * 4
    assert study.view.trials[1].attempts == 3


def test_a_process_that_has_said_its_last_word_and_stays_is_killed(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rnnexp.study.supervisor._STOP_PATIENCE_S", 0.1)
    executor = FakeExecutor()
    executor.stays = {0}
    study.run(executor)
    assert study.states() == [State.COMPLETE] * 4


def test_what_an_exported_trial_has_is_kept(study: Study) -> None:
    executor = FakeExecutor(n_slots=1, accuracy=lambda job, epoch: 0.5 + 0.01 * int(job.folder.root.name))
    study.run(executor, keep__checkpoints=1, budget__trials=1)
    study.home.study("s").trial(0).exported.touch()
    executor = FakeExecutor(n_slots=1, accuracy=lambda job, epoch: 0.5 + 0.01 * int(job.folder.root.name))
    study.run(executor, keep__checkpoints=1, budget__trials=5)
    kept = [row.number for row in study.view.trials if study.home.study("s").trial(row.number).best.exists()]
    assert kept == [0, 4]


def test_the_newest_checkpoint_is_kept_beside_the_best(study: Study) -> None:
    executor = FakeExecutor(n_slots=1, accuracy=lambda job, epoch: 0.9 - 0.01 * int(job.folder.root.name))
    study.run(executor, keep__checkpoints=2, budget__trials=5)
    kept = [row.number for row in study.view.trials if study.home.study("s").trial(row.number).best.exists()]
    assert kept == [0, 1, 4]
