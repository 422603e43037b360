"""A study whose database is lost: the supervisor is run again in the same process, by the rules of a killed one."""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rnnexp.errors import StorageError, StorageLostError, StudyError, WorkError
from rnnexp.storage.store import StudyStore
from rnnexp.study import launch
from rnnexp.study.stopping import Outcome
from rnnexp.trial.states import State
from tests.study.fakes import FakeExecutor, FakeSender
from tests.study.small_study import Study


class Lock:
    """Stands in for the lock of the study: it is lost at some checks, and cannot be taken some times."""

    def __init__(self, lost_at: set[int], refusals: list[Exception] | None = None) -> None:
        self.lost_at, self.refusals = lost_at, refusals or []
        self.n_checks = self.n_acquired = 0

    def check(self) -> None:
        self.n_checks += 1
        if self.n_checks in self.lost_at:
            raise StorageLostError("the lock of the study is lost")

    def acquire(self) -> None:
        if self.refusals:
            raise self.refusals.pop(0)
        self.n_acquired += 1


class Engine:
    """Gives each supervisor an executor of its own."""

    device, n_fitting = "CPU", None

    def __init__(self) -> None:
        self.executors: list[FakeExecutor] = []

    def describe(self) -> str:
        return "fake"

    def executor(self, signals: int) -> Any:
        self.executors.append(FakeExecutor())
        return self.executors[-1]


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.setattr(launch, "SenderThread", lambda *_, **__: FakeSender())
    monkeypatch.setattr(launch._TokenStores, "path", lambda self, config: tmp_path)
    monkeypatch.setattr(launch, "_STORAGE_POLL_S", 0.0)
    return Study(tmp_path)


class Tokens:
    digest = "digest"

    def __init__(self, root: Path) -> None:
        self.root = root


def run(study: Study, lock: Lock, engine: Engine, show: Callable[[Outcome], None] = lambda _: None) -> Outcome:
    config, home = study.config(), study.home
    store = StudyStore.open(home, config, "digest")
    tokens: Any = Tokens(home.root)
    held: Any = lock
    return launch.run_supervisor(config, home, store, tokens, engine, study.reporter, show, held)


def test_the_study_continues_when_its_database_is_back(study: Study) -> None:
    lock = Lock({4, 9}, [StorageError("storage db: it cannot be used"), StorageLostError("again")])
    engine, shown = Engine(), []
    outcome = run(study, lock, engine, shown.append)
    assert study.states() == [State.COMPLETE] * 4
    assert (len(engine.executors), lock.n_acquired) == (3, 2)
    assert (outcome.storage_fault, outcome.n_finished) == ("", 4)
    assert [one.n_finished for one in shown] == [4], "the result is shown once"
    notes = [line for line in study.reporter.notes if "database" in line]
    assert [line.partition(" (")[0] for line in notes] == [
        "the studies' database is lost",
        "the studies' database is back",
    ] * 2


def test_a_study_that_another_machine_has_taken_meanwhile_ends(study: Study) -> None:
    lock = Lock({4}, [StudyError("study s is being run already, by process 1 on other")])
    with pytest.raises(StudyError, match="on other"):
        run(study, lock, Engine())


def test_a_database_that_does_not_come_back_ends_the_study(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_STORAGE_TIMEOUT_S", 0.0)
    lock = Lock({4}, [StorageError("storage db: it cannot be used")] * 3)
    with pytest.raises(WorkError, match=r"did not come back within 0 minutes \(storage db: it cannot be used\)"):
        run(study, lock, Engine())


def test_an_error_of_another_kind_is_not_taken_for_a_lost_database(study: Study) -> None:
    with pytest.raises(ValueError, match="a bug"):
        run(study, Lock({4}, [ValueError("a bug")]), Engine())


def test_a_signal_ends_a_study_whose_database_is_lost(study: Study) -> None:
    engine, before = Engine(), signal.getsignal(signal.SIGTERM)

    class SignalledLock(Lock):
        def check(self) -> None:
            if self.n_checks == 3:
                signal.raise_signal(signal.SIGTERM)
            super().check()

    outcome = run(study, SignalledLock({4}), engine)
    assert (outcome.signal, len(engine.executors)) == (signal.SIGTERM, 1)
    assert signal.getsignal(signal.SIGTERM) == before, "the handlers are those of before"


def test_the_time_budget_counts_from_the_first_start(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[float] = []
    real = launch.Supervisor

    def record(*arguments: Any) -> Any:
        started.append(arguments[-1])
        return real(*arguments)

    monkeypatch.setattr(launch, "Supervisor", record)
    before = time.monotonic()
    run(study, Lock({4}), Engine())
    assert len(started) == 2
    assert started[0] == started[1]
    assert before <= started[0] <= time.monotonic()
