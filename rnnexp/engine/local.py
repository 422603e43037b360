"""Slots on this machine. A trial is a process, forked from one that has imported TensorFlow but not initialised it."""

import contextlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing import connection
from pathlib import Path
from typing import Any

import psutil

from rnnexp.engine.devices import DeviceUse
from rnnexp.engine.executor import Exited, Message
from rnnexp.engine.start_method import context
from rnnexp.trial.answer import Answer
from rnnexp.trial.events import Event
from rnnexp.trial.job import Place, Share, TrialJob
from rnnexp.trial.process import Heartbeat, StopRequest, UseThreads
from rnnexp.trial.process import main as run_trial

_CGROUP = Path("/sys/fs/cgroup")
_RESERVED_GB = 1.0


def n_cores() -> int:
    """Returns the cores that this process may use, by its affinity and by the quota of the container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = (_CGROUP / "cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, max(1, int(int(quota) / int(period))))
    return cores


def free_memory_gb() -> float | None:
    """Returns the memory that new processes can use, in the machine and in the container; None if unknown."""
    free: list[float] = []
    with contextlib.suppress(OSError, psutil.Error):
        free.append(psutil.virtual_memory().available / 2**30)
    with contextlib.suppress(OSError, ValueError):
        limit, used = (int((_CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        free.append((limit - used) / 2**30)
    return min(free, default=None)


@dataclass(frozen=True)
class SlotPlan:
    """How trials share the machine.

    Attributes:
        slots: trials at the same time.
        threads: of each trial.
        fitting: trials that fit into the free memory, by the estimate for the largest; None if the free memory is
            unknown.
        use: the devices on which they train.
    """

    slots: int
    threads: int
    fitting: int | None
    use: DeviceUse = field(default_factory=DeviceUse)


def plan_slots(workers: int | None, n_trials: int, memory_gb: float, use: DeviceUse | None = None) -> SlotPlan:
    """Chooses the number of slots and threads.

    One thread for each trial and one trial for each core: two trials with one thread each at the same time are faster
    than two trials with two threads one after the other. On GPUs it is one trial for each GPU.

    Args:
        workers: number of slots that the user wants; None for as many as cores or GPUs, and memory, allow.
        n_trials: there are no more slots than trials.
        memory_gb: estimated memory of the largest trial.
        use: the devices on which the trials train; None leaves the choice to TensorFlow.
    """
    cores, memory, use = n_cores(), free_memory_gb(), use or DeviceUse()
    fitting = None if memory is None else max(0, int((memory - _RESERVED_GB) / memory_gb))
    places = len(use.gpus) or cores
    slots = workers or max(1, min(places, places if fitting is None else fitting, n_trials))
    return SlotPlan(slots, max(1, cores // slots), fitting, use)


@dataclass
class _Slot:
    process: Any
    pipe: Any
    threads: int = 1
    gpu: str | None = None


class LocalExecutor:
    """An `Executor` whose slots are processes on this machine.

    When slots are free, the running trials may use their cores too. That does not change a result.
    """

    def __init__(
        self, n_slots: int, signals: int | None = None, gpus: Sequence[str] = (), cores: int | None = None
    ) -> None:
        """Args:
        n_slots: trials at the same time.
        signals: a file descriptor that becomes readable when a signal arrives; it ends `poll` early.
        gpus: the GPUs that the trials use, as `DeviceUse.gpus`; each trial gets one of them.
        cores: which the trials share; None for all that this process may use.
        """
        self._cores = cores or n_cores()
        self._gpus = tuple(gpus)
        self._n_slots = n_slots
        self._signals = signals
        self._slots: dict[int, _Slot] = {}
        self._context, self._preloaded = context()

    @property
    def n_slots(self) -> int:
        return self._n_slots

    def submit(self, job: TrialJob, place: Place) -> None:
        share = Share(max(1, self._cores // self._n_slots), self._least_used_gpu())
        pipe, child_pipe = self._context.Pipe()
        process = self._context.Process(  # type: ignore[attr-defined]
            target=run_trial,
            args=(job, place, share, child_pipe, self._preloaded),
            name=f"trial-{job.number}",
            daemon=False,
        )
        try:
            process.start()
        except EOFError as error:  # the forkserver died during the request; the next request starts another
            raise OSError("the forkserver has ended") from error
        finally:
            child_pipe.close()
        self._slots[job.number] = _Slot(process, pipe, share.threads, share.gpu)

    def _least_used_gpu(self) -> str | None:
        used = Counter(slot.gpu for slot in self._slots.values())
        return min(self._gpus, key=lambda gpu: used[gpu], default=None)

    def _share_cores(self) -> None:
        """Tells the running trials how many threads each of them may use now."""
        for number, slot in self._slots.items():
            threads = max(1, self._cores // len(self._slots))
            if threads != slot.threads:
                slot.threads = threads
                self._send(number, UseThreads(threads))

    def poll(self, timeout_s: float) -> list[Message]:
        self._share_cores()
        sources: list[Any] = [slot.pipe for slot in self._slots.values()]
        sources += [slot.process.sentinel for slot in self._slots.values()]
        if self._signals is not None:
            sources.append(self._signals)
        ready = connection.wait(sources, timeout_s)
        if self._signals in ready:
            os.read(self._signals, 64)
        messages: list[Message] = []
        for number, slot in list(self._slots.items()):
            if slot.pipe in ready or slot.process.sentinel in ready:
                # The sentinel is checked before the pipe is read: if it is ready, all messages are in the pipe.
                ended = slot.process.sentinel in ready
                messages += [(number, event) for event in _receive_all(slot.pipe)]
                if ended:
                    slot.process.join()
                    messages.append((number, Exited(slot.process.exitcode or 0)))
                    self._forget(number)
        return messages

    def answer(self, number: int, answer: Answer) -> None:
        self._send(number, answer)

    def request_stop(self, number: int) -> None:
        self._send(number, StopRequest())

    def _send(self, number: int, message: Answer | StopRequest | UseThreads) -> None:
        with contextlib.suppress(OSError, KeyError):  # it has ended in the meantime; `Exited` follows
            self._slots[number].pipe.send(message)

    def kill(self, number: int) -> None:
        if number in self._slots:
            self._slots[number].process.kill()

    def private_bytes(self, number: int) -> int | None:
        if number not in self._slots:
            return None
        try:
            return int(psutil.Process(self._slots[number].process.pid).memory_full_info().uss)
        except (psutil.Error, OSError):  # it has ended, or may not be inspected
            return None

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


def _receive_all(pipe: Any) -> list[Event | Heartbeat]:
    received: list[Event | Heartbeat] = []
    with contextlib.suppress(EOFError, OSError):
        while pipe.poll():
            received.append(pipe.recv())
    return received
