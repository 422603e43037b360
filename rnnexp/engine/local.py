"""Slots on this machine: a trial is a process, forked from one that has TensorFlow imported and nothing started."""

import contextlib
import multiprocessing
import os
import sys
from dataclasses import dataclass
from multiprocessing import connection, forkserver
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

from rnnexp.engine.executor import Exited, Message
from rnnexp.trial.events import Event
from rnnexp.trial.process import Heartbeat, TrialJob
from rnnexp.trial.process import main as run_trial

_PRELOAD = "rnnexp.trial.preload"
_CGROUP = Path("/sys/fs/cgroup")
_GB_KEPT_FREE = 1.0


def context() -> tuple[BaseContext, bool]:
    """Returns how processes are started here, and whether TensorFlow is imported before they are.

    Forking is unsafe on macOS once its frameworks are loaded; there every process imports for itself.
    """
    if sys.platform == "darwin":
        return multiprocessing.get_context("spawn"), False
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload([_PRELOAD])
    return forking, True


def warm_up() -> None:
    """Begins the forkserver's imports, so that they run beside our own."""
    if context()[1]:
        forkserver.ensure_running()


def n_cores() -> int:
    """Returns the cores that this process may use: its affinity, and the container's quota where there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = (_CGROUP / "cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, max(1, int(int(quota) / int(period))))
    return cores


def free_memory_gb() -> float | None:
    """Returns the memory that new processes can have, of the machine and of the container; None where unknown."""
    free: list[float] = []
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free.append(int(line.split()[1]) / 2**20)
    with contextlib.suppress(OSError, ValueError):
        limit, used = (int((_CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        free.append((limit - used) / 2**30)
    return min(free, default=None)


@dataclass(frozen=True)
class SlotPlan:
    """How the machine is shared out.

    Attributes:
        slots: trials at once.
        threads: of each.
        fitting: trials that the free memory has room for, by what the largest is estimated to need; None where the
            free memory is not known.
    """

    slots: int
    threads: int
    fitting: int | None


def plan_slots(workers: int | None, n_trials: int, memory_gb: float) -> SlotPlan:
    """Shares the machine out to trials.

    One thread a trial and a trial a core: two trials of one thread each are faster than one of two after the other.

    Args:
        workers: what the user wants, or None for what cores and memory allow.
        n_trials: no more slots than trials.
        memory_gb: what a trial is estimated to need, at most.
    """
    cores, memory = n_cores(), free_memory_gb()
    fitting = None if memory is None else max(0, int((memory - _GB_KEPT_FREE) / memory_gb))
    slots = workers or max(1, min(cores, cores if fitting is None else fitting, n_trials))
    return SlotPlan(slots, max(1, cores // slots), fitting)


@dataclass
class _Slot:
    process: Any
    pipe: Any


class LocalExecutor:
    """An `Executor` whose slots are processes of this machine."""

    def __init__(self, n_slots: int, signals: int | None = None) -> None:
        """Args:
        n_slots: trials at once.
        signals: a file descriptor that becomes readable when a signal has come; ends a `poll` early.
        """
        self._n_slots = n_slots
        self._signals = signals
        self._slots: dict[int, _Slot] = {}
        self._context, self._preloaded = context()

    @property
    def n_slots(self) -> int:
        return self._n_slots

    def submit(self, number: int, job: TrialJob) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(  # type: ignore[attr-defined]
            target=run_trial, args=(job, theirs, self._preloaded), name=f"trial-{number}", daemon=False
        )
        try:
            process.start()
        except EOFError as error:  # the forkserver died while it was asked; the next request starts another
            raise OSError("the process that forks trials has ended") from error
        finally:
            theirs.close()
        self._slots[number] = _Slot(process, ours)

    def poll(self, timeout_s: float) -> list[Message]:
        waited_for: list[Any] = [slot.pipe for slot in self._slots.values()]
        waited_for += [slot.process.sentinel for slot in self._slots.values()]
        if self._signals is not None:
            waited_for.append(self._signals)
        ready = connection.wait(waited_for, timeout_s)
        if self._signals in ready:
            os.read(self._signals, 64)
        messages: list[Message] = []
        for number, slot in list(self._slots.items()):
            if slot.pipe in ready or slot.process.sentinel in ready:
                # The sentinel was seen first, so that all it said is in the pipe by now.
                ended = slot.process.sentinel in ready
                messages += [(number, event) for event in _received(slot.pipe)]
                if ended:
                    slot.process.join()
                    messages.append((number, Exited(slot.process.exitcode or 0)))
                    self._forget(number)
        return messages

    def answer(self, number: int, go_on: bool) -> None:
        with contextlib.suppress(OSError, KeyError):  # it has ended meanwhile; `Exited` says so
            self._slots[number].pipe.send(go_on)

    def kill(self, number: int) -> None:
        if number in self._slots:
            self._slots[number].process.kill()

    def private_bytes(self, number: int) -> int | None:
        if number not in self._slots:
            return None
        try:
            rollup = Path(f"/proc/{self._slots[number].process.pid}/smaps_rollup").read_text()
        except OSError:
            return None
        kilobytes = [int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_")]
        return sum(kilobytes) * 1024

    def close(self) -> None:
        for slot in self._slots.values():
            slot.process.kill()
        for number, slot in list(self._slots.items()):
            slot.process.join()
            self._forget(number)

    def _forget(self, number: int) -> None:
        slot = self._slots.pop(number)
        slot.pipe.close()
        slot.process.close()


def _received(pipe: Any) -> list[Event | Heartbeat]:
    received: list[Event | Heartbeat] = []
    with contextlib.suppress(EOFError, OSError):
        while pipe.poll():
            received.append(pipe.recv())
    return received
