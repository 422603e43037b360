"""Trials as real processes: their events, their end, and their resume."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rnnexp.engine import local
from rnnexp.engine.executor import Executor, Exited
from rnnexp.engine.local import SlotPlan
from rnnexp.home import Home
from rnnexp.model.cost import memory_gb
from rnnexp.trial import events
from rnnexp.trial.answer import Answer
from rnnexp.trial.events import EpochEnded, Failed, Finished, Started
from rnnexp.trial.plan import eval_batch_size, stored_or_chosen
from rnnexp.trial.process import UseThreads
from tests.engine.contract import ExecutorContract, arrays, home, job, run

__all__ = ["home"]  # a fixture

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def executor() -> Iterator[Executor]:
    executor = local.LocalExecutor(1)
    yield executor
    executor.close()


class TestLocalExecutor(ExecutorContract):
    """The contract, on this machine."""


@pytest.mark.parametrize(("kernel", "first"), [("stock", 60), ("compiled", 40)])
def test_one_config_gives_one_result_whatever_the_threads_and_interruptions(
    home: Home, kernel: str, first: int
) -> None:
    numbers, large = (first, first + 1, first + 2), {"model.units": 64, "train.batch_size": 128}
    changes: dict[str, object] = {} if kernel == "stock" else large  # a small step gets one thread
    jobs = {number: job(home, number, **changes) for number in numbers}
    for number, each in jobs.items():
        threads, device = (2, "GPU") if kernel == "stock" else (1, "CPU")
        threads = threads if number == numbers[1] else 1
        plan = stored_or_chosen(each.place.folder.plan, each.job.config, threads, device)
        assert plan.kernel == kernel
    executor = local.LocalExecutor(2, cores=1)
    seen = run(executor, jobs[numbers[0]])
    run(local.LocalExecutor(2, cores=2), jobs[numbers[1]])
    log = jobs[numbers[1]].place.folder.log.read_text()
    assert ("threads: 2" in log) == (kernel == "compiled"), "it began with one, and took the core of the free slot"
    assert [type(message) for number, message in seen if number == numbers[0]] == [
        Started,
        *[EpochEnded] * 4,
        Finished,
        Exited,
    ]

    killed = run(executor, jobs[numbers[2]], kill_after=2)
    assert killed[-1][1] == Exited(-signal.SIGKILL)
    resumed = run(executor, job(home, numbers[2], attempt=2, **changes))
    started = next(message for _, message in resumed if isinstance(message, Started))
    assert started.from_epoch == 2
    assert [m.epoch for _, m in resumed if isinstance(m, EpochEnded)] == [2, 3, 4], "the last one is reported again"

    folders = [home.study("engine").trial(number) for number in numbers]
    whole, by_two, interrupted = (arrays(folder) for folder in folders)
    for name, value in whole.items():
        np.testing.assert_array_equal(value, interrupted[name], err_msg=name)
        np.testing.assert_array_equal(value, by_two[name], err_msg=name)
    curves = [events.epochs(events.read(folder.events)) for folder in folders]
    assert [epoch.metrics for epoch in curves[0]] == [epoch.metrics for epoch in curves[2]]
    assert [epoch.epoch for epoch in curves[2]] == [1, 2, 3, 4]
    for folder in folders:
        assert folder.best.exists()
        assert folder.curves.exists()
        assert "epoch 4:" in folder.log.read_text()


def test_a_trial_uses_no_more_memory_than_estimated(home: Home) -> None:
    large = {"model.cell": "lstm", "model.units": 128, "model.embedding_dim": 128, "model.recurrent_dropout": 0.0}
    words = {"data.maxlen": 500, "data.padding": "fixed", "train.batch_size": 128, "train.epochs": 1}
    executor, each = local.LocalExecutor(1), job(home, 25, **large, **words)
    executor.submit(*each)
    peak, seen = 0, []
    while not any(isinstance(message, Exited) for message in seen):
        messages = [message for _, message in executor.poll(0.02)]
        if any(isinstance(message, EpochEnded) for message in messages):
            executor.answer(25, Answer.CONTINUE)
        seen += messages
        peak = max(peak, executor.private_bytes(25) or 0)
    assert any(isinstance(message, Finished) for message in seen)
    estimate = memory_gb(each.job.config, 1, eval_batch_size(each.job.config))
    assert 0.4 * estimate < peak / 2**30 < estimate


def test_another_seed_gives_another_result(home: Home) -> None:
    executor = local.LocalExecutor(2)
    run(executor, job(home, 50), job(home, 51, **{"train.seed": 1}))
    one, other = (events.epochs(events.read(home.study("engine").trial(n).events)) for n in (50, 51))
    assert one[0].metrics != other[0].metrics


def test_patience_ends_a_trial(home: Home) -> None:
    executor = local.LocalExecutor(1)
    seen = run(executor, job(home, 21, **{"train.patience": 1, "train.learning_rate": 1e-9, "train.epochs": 9}))
    finished = next(message for _, message in seen if isinstance(message, Finished))
    assert finished.ended == "patience"
    assert sum(isinstance(message, EpochEnded) for _, message in seen) < 9


def test_a_loss_that_is_not_finite_in_the_first_epoch_is_reported(home: Home) -> None:
    executor = local.LocalExecutor(1)
    wild = {"train.learning_rate": 1e38, "train.optimizer": "sgd", "clip.kind": "none"}
    seen = run(executor, job(home, 22, **wild))
    failed = next(message for _, message in seen if isinstance(message, Failed))
    assert failed.kind == "diverged"
    assert "loss is nan" in failed.reason or "loss is inf" in failed.reason
    assert failed.reason.startswith("diverged at epoch 1: ")


def test_a_trial_ends_itself_when_its_supervisor_has_died(home: Home, tmp_path: Path) -> None:
    script = tmp_path / "supervisor.py"
    script.write_text(
        "import sys, pickle\n"
        "from rnnexp.engine import local\n"
        "from rnnexp.trial.events import Started\n"
        "if __name__ == '__main__':\n"
        "    attempt = pickle.load(open(sys.argv[1], 'rb'))\n"
        "    executor = local.LocalExecutor(1)\n"
        "    executor.submit(*attempt)\n"
        "    while True:\n"
        "        for _, message in executor.poll(1.0):\n"
        "            if isinstance(message, Started): print(message.pid, flush=True)\n"
    )
    import pickle

    endless = job(home, 30, **{"train.epochs": 10_000})
    (tmp_path / "job").write_bytes(pickle.dumps(tuple(endless)))
    supervisor = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "job")], stdout=subprocess.PIPE, text=True
    )
    assert supervisor.stdout is not None
    trial = int(supervisor.stdout.readline())
    os.kill(trial, 0)
    supervisor.kill()
    supervisor.wait()
    supervisor.stdout.close()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and Path(f"/proc/{trial}").exists():
        time.sleep(0.1)
    with pytest.raises(ProcessLookupError):
        os.kill(trial, 0)


def test_free_memory_is_the_least_of_the_machine_and_the_container(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(local, "_CGROUP", tmp_path)
    machine = local.free_memory_gb()
    assert machine is not None
    assert machine > 0.2
    (tmp_path / "memory.max").write_text(str(2**28))
    (tmp_path / "memory.current").write_text(str(2**27))
    assert local.free_memory_gb() == 0.125
    (tmp_path / "memory.max").write_text("max")
    assert local.free_memory_gb() == pytest.approx(machine, abs=1.0)


def test_private_memory_is_known_while_a_trial_runs() -> None:
    executor = local.LocalExecutor(1)
    assert executor.private_bytes(7) is None
    program = "print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()  # the interpreter runs; before its exec the child has hardly any memory of its own
        executor._slots[7] = local._Slot(child, None)
        assert 2**20 < (executor.private_bytes(7) or 0) < 2**30
        child.kill()
        child.wait()
        assert executor.private_bytes(7) is None
        executor._slots.clear()


class _Running:
    """A process that runs, without one."""

    def __init__(self) -> None:
        self.sentinel, self._end = multiprocessing.Pipe()
        self.exitcode = 0

    def join(self) -> None:
        pass

    def close(self) -> None:
        pass

    def end(self) -> None:
        self._end.send(None)


def test_running_trials_share_the_cores_of_free_slots() -> None:
    executor = local.LocalExecutor(3, cores=7)
    processes, pipes = {}, {}
    for number in range(3):
        pipe, pipes[number] = multiprocessing.Pipe()
        processes[number] = _Running()
        executor._slots[number] = local._Slot(processes[number], pipe, threads=2)

    def received(number: int) -> list[object]:
        return [pipes[number].recv() for _ in iter(pipes[number].poll, False)]

    executor.poll(0)
    assert [received(number) for number in range(3)] == [[], [], []], "as they were started"
    processes[0].end()
    assert executor.poll(0) == [(0, Exited(0))]
    executor.poll(0)
    executor.poll(0)
    assert [received(number) for number in (1, 2)] == [[UseThreads(3)], [UseThreads(3)]]
    processes[2].end()
    executor.poll(0)
    pipe, pipes[3] = multiprocessing.Pipe()
    executor._slots[3] = local._Slot(_Running(), pipe, threads=2)
    executor.poll(0)
    assert [received(number) for number in (1, 3)] == [[], [UseThreads(3)]], "another trial has the slot"


def test_slots_and_threads_share_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "n_cores", lambda: 8)
    monkeypatch.setattr(local, "free_memory_gb", lambda: 64.0)
    assert local.plan_slots(None, 40, 1.5) == SlotPlan(slots=8, threads=1, fitting=42)
    assert local.plan_slots(None, 3, 1.5) == SlotPlan(slots=3, threads=2, fitting=42)
    assert local.plan_slots(2, 40, 1.5) == SlotPlan(slots=2, threads=4, fitting=42)
    assert local.plan_slots(16, 40, 1.5) == SlotPlan(slots=16, threads=1, fitting=42)
    assert local.plan_slots(None, 40, 30.0) == SlotPlan(slots=2, threads=4, fitting=2), "large trials"
    assert local.plan_slots(None, 40, 100.0) == SlotPlan(slots=1, threads=8, fitting=0), "there is at least one slot"
    monkeypatch.setattr(local, "free_memory_gb", lambda: 4.1)
    assert local.plan_slots(None, 40, 1.5) == SlotPlan(slots=2, threads=4, fitting=2)
    assert local.plan_slots(4, 40, 1.5) == SlotPlan(slots=4, threads=2, fitting=2), "the user's setting has priority"
