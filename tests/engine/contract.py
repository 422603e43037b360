"""What every executor does, with real trials: each executor's test module has a subclass of `ExecutorContract`."""

import os
import signal
import time
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import psutil
import pytest

from rnnexp.config.trial import TrialConfig
from rnnexp.data.store import prepare
from rnnexp.engine.executor import End, Executor, Exited, Message, Unreachable
from rnnexp.home import Home, TrialFolder
from rnnexp.trial import events
from rnnexp.trial.answer import Answer
from rnnexp.trial.events import EpochEnded, Failed, Finished, Started
from rnnexp.trial.job import Place, TrialJob
from rnnexp.trial.process import Heartbeat

SETTINGS: dict[str, object] = {
    "data.name": "reviews",
    "data.train_samples": 400,
    "model.cell": "gru",
    "model.units": 8,
    "model.embedding_dim": 8,
    "model.dropout": 0.3,
    "model.recurrent_dropout": 0.2,
    "train.epochs": 4,
    "train.batch_size": 64,
    "clip.kind": "global_norm",
}


class Attempt(NamedTuple):
    """The arguments of `submit`."""

    job: TrialJob
    place: Place


def job(home: Home, number: int, attempt: int = 1, **settings: object) -> Attempt:
    config = TrialConfig().with_settings({**SETTINGS, **settings})  # type: ignore[arg-type]
    store = prepare(config.data, home)
    folder = home.study("engine").trial(number)
    folder.root.mkdir(parents=True, exist_ok=True)
    return Attempt(TrialJob(number, config, attempt, "engine"), Place(folder, store.root))


def run(executor: Executor, *attempts: Attempt, kill_after: int | None = None) -> list[Message]:
    """Runs trials to their end, or kills each of them after the epoch `kill_after`."""
    for each in attempts:
        wait_for_slot(executor)
        executor.submit(*each)
    seen: list[Message] = []
    left = {each.job.number for each in attempts}
    while left:
        for number, message in executor.poll(5.0):
            if isinstance(message, Heartbeat | Unreachable):
                continue
            seen.append((number, message))
            if isinstance(message, EpochEnded):
                if message.epoch == kill_after:
                    executor.kill(number)
                executor.answer(number, Answer.CONTINUE)
            if isinstance(message, End):
                left.discard(number)
    return seen


def arrays(folder: TrialFolder) -> dict[str, np.ndarray]:
    with np.load(folder.state) as state:
        return {name: state[name] for name in state.files if name != "about"}


def wait_for_slot(executor: Executor, timeout_s: float = 120) -> None:
    """Waits until a slot is there; those on other machines need a moment."""
    deadline = time.monotonic() + timeout_s
    while not executor.n_slots and time.monotonic() < deadline:
        assert executor.poll(0.2) == []
    assert executor.n_slots


def of_kind(messages: list[Message], kind: type) -> list[object]:
    return [message for _, message in messages if isinstance(message, kind)]


def until(executor: Executor, kind: type) -> list[Message]:
    """Polls until a message of the kind arrives, and answers each epoch."""
    seen: list[Message] = []
    deadline = time.monotonic() + 120
    while not of_kind(seen, kind) and time.monotonic() < deadline:
        for number, message in executor.poll(5.0):
            seen.append((number, message))
            if isinstance(message, EpochEnded) and kind is not EpochEnded:
                executor.answer(number, Answer.CONTINUE)
    return seen


ENDLESS = {"train.epochs": 10_000}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The home of a module's trials."""
    return Home.open(tmp_path_factory.mktemp("home"))


class ExecutorContract:
    """The tests. A module with a subclass imports `home` and has a fixture `executor`: one slot for all tests."""

    def test_a_trial_reports_its_events_in_order_and_leaves_its_files(self, executor: Executor, home: Home) -> None:
        seen = run(executor, job(home, 0))
        assert [type(message) for _, message in seen] == [Started, *[EpochEnded] * 4, Finished, Exited]
        assert {number for number, _ in seen} == {0}
        folder = home.study("engine").trial(0)
        recorded = [events.encode(event) for event in events.read(folder.events)]
        assert recorded == [events.encode(message) for _, message in seen[:-1]]  # type: ignore[arg-type]
        assert all(path.exists() for path in (folder.best, folder.held_out, folder.plan, folder.curves, folder.history))
        assert "epoch 4:" in folder.log.read_text()

    def test_the_event_and_its_checkpoint_are_there_when_it_arrives(self, executor: Executor, home: Home) -> None:
        wait_for_slot(executor)
        folder = home.study("engine").trial(1)
        executor.submit(*job(home, 1))
        epochs: list[int] = []
        while len(epochs) < 4:
            for _, message in executor.poll(5.0):
                if isinstance(message, EpochEnded):
                    epochs.append(message.epoch)
                    assert message in events.read(folder.events)
                    with np.load(folder.state) as state:
                        assert str(state["about"]).count("val_loss") == message.epoch
                    executor.answer(1, Answer.CONTINUE)
        until(executor, Exited)

    def test_an_attempt_that_is_killed_resumes_to_the_same_weights(self, executor: Executor, home: Home) -> None:
        killed = run(executor, job(home, 2), kill_after=2)
        assert killed[-1][1] == Exited(-signal.SIGKILL)
        resumed = run(executor, job(home, 2, attempt=2))
        (started,) = of_kind(resumed, Started)
        assert isinstance(started, Started)
        assert started.from_epoch == 2
        assert [epoch.epoch for epoch in of_kind(resumed, EpochEnded)] == [2, 3, 4]  # type: ignore[attr-defined]
        run(executor, job(home, 3))
        whole, interrupted = (arrays(home.study("engine").trial(number)) for number in (3, 2))
        for name, value in whole.items():
            np.testing.assert_array_equal(value, interrupted[name], err_msg=name)

    def test_a_crash_is_reported_with_its_signal(self, executor: Executor, home: Home) -> None:
        wait_for_slot(executor)
        executor.submit(*job(home, 4, **ENDLESS))
        (started,) = of_kind(until(executor, Started), Started)
        assert isinstance(started, Started)
        os.kill(started.pid, signal.SIGSEGV)
        assert until(executor, Exited)[-1] == (4, Exited(-signal.SIGSEGV))

    def test_an_answer_prunes_a_trial(self, executor: Executor, home: Home) -> None:
        wait_for_slot(executor)
        executor.submit(*job(home, 5))
        until(executor, EpochEnded)
        executor.answer(5, Answer.END)
        (finished,) = of_kind(until(executor, Finished), Finished)
        assert isinstance(finished, Finished)
        assert (finished.ended, finished.best_epoch) == ("pruned", 1)
        until(executor, Exited)
        assert home.study("engine").trial(5).history.read_text().count("\n") == 2

    def test_a_trial_that_is_stopped_ends_within_its_epoch_and_keeps_its_model(
        self, executor: Executor, home: Home
    ) -> None:
        wait_for_slot(executor)
        executor.submit(*job(home, 6, **{"train.batch_size": 1, "train.epochs": 1000}))
        until(executor, EpochEnded)
        executor.answer(6, Answer.CONTINUE)
        executor.request_stop(6)
        seen = until(executor, Exited)
        (finished,) = of_kind(seen, Finished)
        assert isinstance(finished, Finished)
        assert (finished.ended, finished.reason, finished.best_epoch) == ("stopped", "stopped by hand", 1)
        assert not of_kind(seen, EpochEnded)
        assert home.study("engine").trial(6).best.exists()
        assert seen[-1][1] == Exited(0)

    def test_an_exception_is_reported_with_its_traceback(self, executor: Executor, home: Home) -> None:
        attempt = job(home, 7)
        one_row = attempt.job.config.with_settings({"data.train_samples": 1})
        seen = run(executor, Attempt(replace(attempt.job, config=one_row), attempt.place))
        (failed,) = of_kind(seen, Failed)
        assert isinstance(failed, Failed)
        assert failed.kind == "data"
        assert "Traceback" in failed.traceback
        assert isinstance(seen[-1][1], Exited)

    def test_a_trial_with_a_damaged_checkpoint_starts_again(self, executor: Executor, home: Home) -> None:
        run(executor, job(home, 8), kill_after=2)
        folder = home.study("engine").trial(8)
        folder.state.write_bytes(folder.state.read_bytes()[:1000])
        run(executor, job(home, 8, attempt=2))
        curves = [events.epochs(events.read(home.study("engine").trial(n).events)) for n in (0, 8)]
        assert [epoch.metrics for epoch in curves[0]] == [epoch.metrics for epoch in curves[1]]
        assert "damaged" in folder.log.read_text()

    def test_the_memory_of_a_trial_is_known_while_it_runs(self, executor: Executor, home: Home) -> None:
        assert executor.private_bytes(9) is None
        wait_for_slot(executor)
        executor.submit(*job(home, 9, **ENDLESS))
        until(executor, Started)
        deadline = time.monotonic() + 20
        while executor.private_bytes(9) is None and time.monotonic() < deadline:
            until(executor, Heartbeat)
        assert 2**24 < (executor.private_bytes(9) or 0) < 2**32
        executor.kill(9)
        until(executor, Exited)
        assert executor.private_bytes(9) is None

    def test_close_ends_the_trials(self, executor: Executor, home: Home) -> None:  # the last test of the executor
        wait_for_slot(executor)
        executor.submit(*job(home, 10, **ENDLESS))
        (started,) = of_kind(until(executor, Started), Started)
        assert isinstance(started, Started)
        executor.close()
        assert is_gone(started.pid)


def is_gone(pid: int, timeout_s: float = 20) -> bool:
    """Waits for the end of a process; returns whether it has ended."""
    deadline = time.monotonic() + timeout_s
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not psutil.pid_exists(pid)
