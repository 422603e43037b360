"""A fake executor, sender and reporter. A test sets what the fake trials do; everything else is real."""

import time
import zipfile
from collections import deque
from collections.abc import Callable
from typing import Any

from rnnexp.engine.executor import Exited, Message, SlotLost
from rnnexp.home import TrialFolder
from rnnexp.study.progress import ProgressSnapshot
from rnnexp.trial import events
from rnnexp.trial.answer import Answer
from rnnexp.trial.checkpoint import model_fault
from rnnexp.trial.events import STOPPED_BY_HAND, EndReason, EpochEnded, Failed, Finished, Paused, Started
from rnnexp.trial.job import Place, TrialJob
from rnnexp.trial.states import State

Accuracy = Callable[[TrialJob, int], float]


class FakeExecutor:
    """Runs trials without processes and without waiting. All dictionaries and sets are by trial number.

    Attributes:
        accuracy: returns the accuracy of an epoch.
        grad_norm: returns the gradient norm of an epoch, of trials that clip; None logs no norm.
        n_params: returns the number of a trial's weights.
        n_crashes: the epochs after which the process crashes, one for each attempt.
        bugs: trials that raise an exception.
        endless: trials that send no further message.
        slow: trials whose next epoch does not end; they end when the user stops them.
        never_starts: how many times the process ends before it trains, with an exit code.
        diverges: the epoch at which the loss is not finite any more; a later one than the first.
        failures: the kind and reason of the failure that the trial reports.
        exits: the exit code of a process that ends without a result.
        refuses: how many times the process cannot be started.
        loses_slot: how many times the slot is lost after the trial has started to train.
        stays: trials whose process does not exit after its result.
        memory: the private bytes of a trial.
        on_submit: called before a trial starts.
        on_epoch: called when an epoch is answered, with the trial's number and the epoch.
        submitted: all started trials.
        most_at_once: the maximum number of trials at once.
    """

    def __init__(self, n_slots: int = 2, accuracy: Accuracy | None = None) -> None:
        self.n_slots = n_slots
        self.accuracy = accuracy or (lambda job, epoch: 0.5 + 0.01 * epoch)
        self.grad_norm: Accuracy | None = None
        self.n_params: Callable[[TrialJob], int] = lambda job: 10
        self.n_crashes: dict[int, list[int]] = {}
        self.bugs: set[int] = set()
        self.endless: set[int] = set()
        self.slow: set[int] = set()
        self.never_starts: dict[int, list[int]] = {}
        self.diverges: dict[int, int] = {}
        self.failures: dict[int, tuple[str, str]] = {}
        self.exits: dict[int, int] = {}
        self.refuses: dict[int, int] = {}
        self.loses_slot: dict[int, int] = {}
        self.stays: set[int] = set()
        self.on_submit: Callable[[int], None] = lambda number: None
        self.memory: dict[int, int] = {}
        self.submitted: list[TrialJob] = []
        self.most_at_once = 0
        self.on_epoch: Callable[[int, int], None] = lambda number, epoch: None
        self._running: dict[int, TrialJob] = {}
        self._folders: dict[int, TrialFolder] = {}
        self._queue: deque[Message] = deque()
        self._stopped: set[int] = set()
        self._n_done: dict[int, int] = {}

    def submit(self, job: TrialJob, place: Place) -> None:
        number, folder = job.number, place.folder
        if self.refuses.get(number):
            self.refuses[number] -= 1
            raise OSError(11, "Resource temporarily unavailable")
        self.on_submit(number)
        self._running[number], self._folders[number] = job, folder
        self.submitted.append(job)
        self.most_at_once = max(self.most_at_once, len(self._running))
        if self.never_starts.get(number):
            self._exit(number, self.never_starts[number].pop(0))
            return
        trial_events = events.read(folder.events)
        has_lost_model = any(isinstance(event, Finished) for event in trial_events) and model_fault(folder)
        done = self._n_done[number] = 0 if has_lost_model else len(events.epochs(trial_events))
        self._send(number, Started(time.time(), job.attempt, done, 1, self.n_params(job), {"name": "fake"}, {}))
        if number in self.bugs:
            self._send(number, Failed(time.time(), "error", "ValueError: broken", "Traceback"))
            self._exit(number, 1)
        elif number in self.failures:
            self._send(number, Failed(time.time(), *self.failures[number]))
            self._exit(number, 0)
        elif number in self.exits:
            self._exit(number, self.exits[number])
        elif self.loses_slot.get(number):
            self.loses_slot[number] -= 1
            self._queue.append((number, SlotLost("its node is lost")))
            del self._running[number]
        elif done:  # reported again, as by a real process: its answer may have been lost
            self._queue.append((number, events.epochs(trial_events)[-1]))
        else:
            self._epoch(number)

    def _send(self, number: int, event: Any) -> None:
        events.append(self._folders[number].events, event)
        self._queue.append((number, event))

    def _exit(self, number: int, code: int) -> None:
        self._queue.append((number, Exited(code)))
        del self._running[number]

    def _epoch(self, number: int) -> None:
        job = self._running[number]
        curve = events.epochs(events.read(self._folders[number].events))
        epoch = self._n_done[number] + 1
        if self.n_crashes.get(number) and self.n_crashes[number][0] < epoch:
            self.n_crashes[number].pop(0)
            self._exit(number, -9)
            return
        if number in self.endless or number in self.slow:
            return
        if self.diverges.get(number) == epoch:
            best = curve[-1].best_epoch
            self._finish(number, "diverged", f"diverged at epoch {epoch}: loss is nan; the result is epoch {best}")
            return
        self._n_done[number] = epoch
        if epoch <= len(curve):
            self._queue.append((number, curve[epoch - 1]))  # it was written by an earlier attempt
            return
        values = [epoch_ended.metrics["val_accuracy"] for epoch_ended in curve] + [self.accuracy(job, epoch)]
        best = values.index(max(values)) + 1
        metrics = {"val_accuracy": values[-1], "val_loss": 1 - values[-1], "loss": 0.3, "accuracy": 0.9}
        if self.grad_norm is not None and job.config.clip.kind != "none":
            norm = self.grad_norm(job, epoch)
            metrics |= {"clip/grad_norm": norm, "clip/rate": float(norm > job.config.clip.threshold)}
        self._send(number, EpochEnded(time.time(), epoch, metrics, 0.1, best, values[best - 1]))

    def answer(self, number: int, answer: Answer) -> None:
        job = self._running.get(number)
        if job is None:
            return
        self.on_epoch(number, self._n_done[number])
        if answer is Answer.CONTINUE and self._n_done[number] < job.config.train.epochs:
            self._epoch(number)
        elif answer is Answer.PAUSE:
            self._pause(number)
        else:
            self._end(number, answer)

    def _pause(self, number: int) -> None:
        write_model(self._folders[number])
        self._folders[number].state.write_bytes(b"checkpoint")
        self._send(number, Paused(time.time(), self._n_done[number]))
        self._exit(number, 0)

    def request_stop(self, number: int) -> None:
        self._stopped.add(number)
        if number in self.slow and number in self._running:
            self._end(number, Answer.END)

    def _end(self, number: int, answer: Answer) -> None:
        if answer is Answer.END and number in self._stopped:
            self._finish(number, "stopped", STOPPED_BY_HAND)
        else:
            self._finish(number, "epochs" if answer is Answer.CONTINUE else "pruned")

    def _finish(self, number: int, ended: EndReason, reason: str = "") -> None:
        folder = self._folders[number]
        curve = events.epochs(events.read(folder.events))
        if curve:
            write_model(folder)
            metrics = curve[curve[-1].best_epoch - 1].metrics
            result = Finished(time.time(), ended, curve[-1].best_epoch, metrics, 10, 0.1 * len(curve), reason)
            self._send(number, result)
        else:
            self._send(number, Failed(time.time(), ended, reason))
        if number not in self.stays:
            self._exit(number, 0)

    def poll(self, timeout_s: float) -> list[Message]:
        if not self._queue:
            time.sleep(0.01)
            return []
        return [self._queue.popleft()]

    def kill(self, number: int) -> None:
        if number in self._running:
            self._exit(number, -9)

    def private_bytes(self, number: int) -> int | None:
        return self.memory.get(number)

    def close(self) -> None:
        self._running.clear()


def write_model(folder: TrialFolder) -> None:
    """Writes the files of the best epoch: archives whose parts have checksums."""
    for path in (folder.best, folder.held_out):
        path.parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("model", "weights")


class FakeSender:
    """Remembers the trials that it was notified of."""

    def __init__(self) -> None:
        self.notified: set[int] = set()

    def notify(self, number: int) -> None:
        self.notified.add(number)

    def close(self, timeout_s: float) -> list[int]:
        return []


class FakeReporter:
    """Remembers what was reported."""

    def __init__(self) -> None:
        self.ends: list[tuple[int, State, str]] = []
        self.notes: list[str] = []
        self.snapshots: list[ProgressSnapshot] = []

    def started(self, number: int, settings: dict[str, Any], attempt: int, from_epoch: int, epochs: int) -> None:
        return

    def epoch_ended(self, number: int, event: EpochEnded) -> None:
        return

    def ended(self, number: int, state: State, value: float | None, reason: str) -> None:
        self.ends.append((number, state, reason))

    def note(self, line: str) -> None:
        self.notes.append(line)

    def tick(self, snapshot: ProgressSnapshot) -> None:
        self.snapshots.append(snapshot)
