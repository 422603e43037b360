"""Instant trials: each writes the events and files that a real trial's process writes, with a tiny model."""

import fcntl
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import numpy as np

from rnnexp import disk
from rnnexp.engine.executor import Exited, Message
from rnnexp.home import TrialFolder
from rnnexp.trial import history
from rnnexp.trial.answer import Answer
from rnnexp.trial.events import EpochEnded, Event, Finished, Started, append
from rnnexp.trial.job import Place, TrialJob
from rnnexp.trial.plan import stored_or_chosen

_N_PARAMS = 1000
_PNG = b"\x89PNG\r\n\x1a\n" + bytes(40_000)
"""Stands in for `curves.png`, which a real trial's process draws."""


class InstantExecutor:
    """An executor whose trials run instantly, in the supervisor's own process."""

    def __init__(self, n_slots: int, data: dict[str, Any], wait: Callable[[], None]) -> None:
        """Args:
        n_slots: number of concurrent trials.
        data: the description of the data set in each trial's first event.
        wait: returns when the sender thread is not far behind; real trials leave it seconds each.
        """
        self.n_slots = n_slots
        self.seconds: Counter[int] = Counter()
        self._data, self._wait = data, wait
        self._curves: dict[int, list[EpochEnded]] = {}
        self._jobs: dict[int, TrialJob] = {}
        self._folders: dict[int, TrialFolder] = {}
        self._queue: deque[Message] = deque()

    def submit(self, job: TrialJob, place: Place) -> None:
        self._wait()
        start, number, folder = time.perf_counter(), job.number, place.folder
        self._jobs[number], self._folders[number], self._curves[number] = job, folder, []
        with folder.lock.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
        stored_or_chosen(folder.plan, job.config, 1, "CPU")
        self._send(number, Started(time.time(), job.attempt, 0, 1, _N_PARAMS, self._data, {"threads": 1}))
        self._epoch(number)
        self.seconds[number] += time.perf_counter() - start

    def answer(self, number: int, answer: Answer) -> None:
        start, go_on = time.perf_counter(), answer is Answer.CONTINUE
        if go_on and len(self._curves[number]) < self._jobs[number].config.train.epochs:
            self._epoch(number)
        else:
            self._finish(number, go_on)
        self.seconds[number] += time.perf_counter() - start

    def poll(self, timeout_s: float) -> list[Message]:
        return [self._queue.popleft()] if self._queue else []

    def kill(self, number: int) -> None:
        self._queue.append((number, Exited(-9)))

    def request_stop(self, number: int) -> None:
        return

    def private_bytes(self, number: int) -> int | None:
        return None

    def close(self) -> None:
        self._queue.clear()

    def _epoch(self, number: int) -> None:
        curve, folder = self._curves[number], self._folders[number]
        epoch = len(curve) + 1
        accuracy = _accuracy(self._jobs[number], epoch)
        metrics = {"loss": 1 - accuracy, "accuracy": accuracy, "val_loss": 1 - accuracy, "val_accuracy": accuracy}
        metrics |= {"clip/rate": 0.0, "clip/grad_norm": 1.0}
        for path in (folder.best, folder.held_out, folder.state):
            _write_arrays(path)
        curve.append(EpochEnded(time.time(), epoch, metrics, 0.001, epoch, accuracy))
        self._send(number, curve[-1])

    def _finish(self, number: int, go_on: bool) -> None:
        folder, curve = self._folders.pop(number), self._curves.pop(number)
        ended = "epochs" if go_on else "pruned"
        finished = Finished(time.time(), ended, curve[-1].epoch, curve[-1].metrics, _N_PARAMS, 0.001 * len(curve))
        self._append(number, folder, finished)
        folder.curves.write_bytes(_PNG)
        disk.write_text(folder.history, history._history(curve))
        self._queue.append((number, Exited(0)))

    def _send(self, number: int, event: Event) -> None:
        self._append(number, self._folders[number], event)

    def _append(self, number: int, folder: TrialFolder, event: Event) -> None:
        append(folder.events, event)
        with folder.log.open("a") as log:
            log.write(f"{event}\n")
        self._queue.append((number, event))


def _write_arrays(path: Any) -> None:
    """Writes a file with checksummed parts, like a model or a checkpoint."""
    with disk.replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, weights=np.zeros(250, dtype=np.float32))


def _accuracy(job: TrialJob, epoch: int) -> float:
    """Returns the accuracy after an epoch: a rising curve that depends on the settings only."""
    config = job.config
    best = 0.9 - 0.1 * abs(np.log10(config.train.learning_rate) + 2.5) - 0.1 * config.model.dropout
    return float(round(best * (1 - 0.4**epoch) + 0.0001 * (config.model.units % 7), 6))
