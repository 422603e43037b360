"""The trials' processes as state machines: the protocol of `rnnexp/trial/process.py` and `fit.py`, without a network.

A process writes the real events into its real folder. It can end at each step. An orphan may write for some seconds.
"""

import contextlib
import json
import math
import signal
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from rnnexp import disk
from rnnexp.engine.executor import Exited
from rnnexp.home import TrialFolder
from rnnexp.trial import checkpoint, events
from rnnexp.trial.answer import Answer
from rnnexp.trial.events import STOPPED_BY_HAND, EndReason, EpochEnded, Event, Failed, Finished, Paused, Started
from rnnexp.trial.job import TrialJob
from rnnexp.trial.process import DISK_FULL, LOCKED, ORPHANED, Heartbeat
from rnnexp.trial.progress import Progress
from tests.simulation import sim_training
from tests.simulation.sim_storage import Append, write_torn
from tests.simulation.sim_training import ProcessExit, ProcessHang, TrialError
from tests.simulation.world import Cause, Violation, World

_HEARTBEAT_INTERVAL_S = 2.0
_LOCK_TIMEOUT_S = 15.0
_MAX_SECONDS_AS_ORPHAN, _MAX_SECONDS_AS_HUNG_ORPHAN = 3.0, 100.0

Steps = Generator[float | None, None, Any]
"""The steps of a process. Each yields the seconds to wait, or None to wait for the supervisor's answer."""


class Process:
    """The process of one attempt of a trial."""

    def __init__(
        self, world: World, job: TrialJob, folder: TrialFolder, append: Append, deliver: Callable[[Any, float], None]
    ) -> None:
        """Args:
        world: where it runs.
        job: what to run.
        folder: the trial's.
        append: the real `events.append`.
        deliver: delivers a message to the supervisor after some seconds.
        """
        self._world, self.number, self._job, self._folder = world, job.number, job, folder
        self._append, self._deliver = append, deliver
        self.alive, self.orphaned = True, False
        self.n_bytes = 2**28
        self._is_waiting_for_answer = False
        self._answer = Answer.CONTINUE
        self._is_endless = self._is_stopped = self._hangs = False
        self.n_epochs, self._first_end, self._new_since = 0, 0, math.inf
        self._finished, self._recorded = False, set[type]()
        self._steps = self._main()
        world.processes.append(self)
        world.schedule(world.rng.uniform(0.02, 0.6), self._continue)

    def become_orphan(self) -> None:
        """The supervisor has died. The process ends within seconds, or when it next sends a message, or it hangs."""
        self.orphaned = True
        self._hangs = self._hangs or self._world.draw_fault("orphan") is not None
        longest_s = _MAX_SECONDS_AS_HUNG_ORPHAN if self._hangs else _MAX_SECONDS_AS_ORPHAN
        self._world.schedule(self._world.rng.uniform(0, longest_s), lambda: self.end(ORPHANED))

    def answer(self, answer: Answer) -> None:
        """The supervisor's answer to `EpochEnded` arrives."""
        if self.alive and self._is_waiting_for_answer:
            self._is_waiting_for_answer, self._answer = False, answer
            self._continue()

    def request_stop(self) -> None:
        """The user's request arrives; the process notices it after its running batch."""
        self._is_stopped = True

    @property
    def is_repeating(self) -> bool:
        """Whether it trains epochs again that were reported, or whose model was saved."""
        return self.n_epochs < self._first_end

    def seconds_of_new_epoch(self, since: float) -> float:
        """Returns how long it has trained a new epoch after a time: it may end then, and does so after a request."""
        may_end = self.alive and not (self._is_waiting_for_answer or self._hangs or self.is_repeating)
        return self._world.now - max(since, self._new_since) if may_end else 0.0

    @property
    def attempt(self) -> int:
        """The number of the attempt, from 1."""
        return self._job.attempt

    def has_trained(self) -> bool:
        """Tells whether the trial's record has the start of this attempt."""
        return Started in self._recorded

    def has_result(self) -> bool:
        """Tells whether the trial's record has a result."""
        return self._finished or not self._recorded.isdisjoint((Failed, Paused))

    def end(self, code: int) -> None:
        """Ends the process at once."""
        if not self.alive:
            return
        self.alive = False
        self._steps.close()
        self._world.processes.remove(self)
        self._unlock()
        self._world.log(f"trial {self.number}", f"process ends with {code}")
        if not self.orphaned:
            self._deliver(Exited(code), 0.001)

    def _continue(self) -> None:
        if not self.alive or self._hangs:
            return
        try:
            wait_s = next(self._steps)
        except StopIteration as done:
            self.end(done.value or 0)
        except ProcessExit as exit_:
            self.end(exit_.code)
        except ProcessHang:
            self._hangs = True
            self._world.log(f"trial {self.number}", "hangs")
        else:
            if wait_s is None:
                self._is_waiting_for_answer = True
            else:
                self._world.schedule(wait_s, self._continue)

    def _main(self) -> Steps:
        try:
            yield from self._lock()
            yield from self._fit()
            self._inject_fault("drawing")
        except TrialError as error:
            if self._finished or self._world.folder_locks.get(self._folder.root) is not self:
                return 1  # without the lock of its folder it writes no event
            yield self._world.rng.uniform(0, 0.01)
            kind, _, reason = str(error).partition(": ")
            yield from self._tell(Failed(self._world.wall_time(), kind, reason, "Traceback"), with_faults=False)
            return 1
        self._unlock()
        yield self._world.rng.uniform(0.001, 0.05)
        with contextlib.suppress(TrialError):
            self._inject_fault("the end")
        return 0

    def _lock(self) -> Steps:
        self._inject_fault("the start")
        locks, deadline = self._world.folder_locks, self._world.now + _LOCK_TIMEOUT_S
        while self._folder.root in locks:
            if self._world.now > deadline:
                if not locks[self._folder.root].orphaned:
                    raise Violation(f"trial {self.number}: two processes were started for it")
                raise ProcessExit(LOCKED)
            yield 0.1
        locks[self._folder.root] = self
        if self.orphaned:
            raise ProcessExit(ORPHANED)

    def _unlock(self) -> None:
        if self._world.folder_locks.get(self._folder.root) is self:
            del self._world.folder_locks[self._folder.root]

    def _fit(self) -> Steps:
        """Trains the epochs as the real `fit` does."""
        job, folder = self._job, self._folder
        progress = Progress(job.config.train)
        progress.curve = self._restore()
        progress.seconds = self._world.plan.epoch_s * progress.epoch
        trial_events = events.read(folder.events)
        written_epochs = events.epochs(trial_events)
        last_reported = written_epochs[-1].epoch if written_epochs else 0
        yield 0.05
        now = self._world.wall_time()
        yield from self._tell(Started(now, job.attempt, progress.epoch, 1, 10, sim_training.DATA, {"threads": 1}))
        former = next((event for event in reversed(trial_events) if isinstance(event, Finished)), None)
        if former is not None and progress.epoch == last_reported:
            yield from self._tell(former)
            return
        last_epoch = job.config.train.epochs if former is None else last_reported
        self._first_end = max(last_reported, sim_training.epoch_of_archive(folder.held_out) if progress.epoch else 0)
        end = yield from self._train_epochs(progress, last_epoch, written_epochs)
        if end is None:
            yield from self._tell(Paused(self._world.wall_time(), progress.epoch))
            return
        ended, reason = end
        if former is not None and progress.epoch == last_reported:
            ended, reason = former.ended, former.reason
        now, seconds = self._world.wall_time(), progress.seconds
        if progress.epoch:
            yield from self._tell(Finished(now, ended, progress.best_epoch, progress.best_metrics, 10, seconds, reason))
        else:
            if ended == "stopped":
                self._record_cause("failure")
            yield from self._tell(Failed(now, ended, reason))

    def _train_epochs(
        self, progress: Progress, last_epoch: int, written_epochs: list[EpochEnded]
    ) -> Generator[float | None, None, tuple[EndReason, str] | None]:
        """Trains until the trial ends; returns why it ended, or None if it is paused."""
        self.n_epochs = progress.epoch
        answer = Answer.CONTINUE
        if progress.epoch:
            answer = yield from self._tell(self._epoch_ended(progress, 0.0, written_epochs))
        while progress.epoch < last_epoch and not progress.out_of_patience:
            if answer is not Answer.CONTINUE and not self.is_repeating:
                break
            is_complete = yield from self._train()
            self._new_since = math.inf
            if not is_complete:
                return "stopped", STOPPED_BY_HAND
            epoch = progress.epoch + 1
            if self._world.diverges(self.number, epoch):
                reason = f"diverged at epoch {epoch}: loss is nan"
                result = f"; the result is epoch {progress.best_epoch}" if progress.curve else ""
                return "diverged", reason + result
            progress.curve.append(sim_training.metrics_of(self._job.config, epoch))
            progress.seconds += self._world.plan.epoch_s
            yield from self._save(progress)
            self.n_epochs = progress.epoch
            answer = yield from self._tell(self._epoch_ended(progress, self._world.plan.epoch_s, written_epochs))
        if answer is Answer.PAUSE and progress.epoch < last_epoch and not progress.out_of_patience:
            return None
        if answer is Answer.END:
            return ("stopped", STOPPED_BY_HAND) if self._is_stopped else ("pruned", "")
        return ("epochs" if progress.epoch >= progress.train.epochs else "patience"), ""

    def _restore(self) -> list[dict[str, float]]:
        folder = self._folder
        if not folder.state.exists():
            return []
        if checkpoint.model_fault(folder) or self._world.draw_fault("restore"):
            folder.state.unlink()
            return []
        curve: list[dict[str, float]] = json.loads(folder.state.read_text())
        return curve

    def _epoch_ended(self, progress: Progress, seconds: float, written_epochs: list[EpochEnded]) -> EpochEnded:
        metrics = progress.curve[-1]
        for event in written_epochs:
            if event.epoch == progress.epoch and event.metrics == metrics:
                return event
        now = self._world.wall_time()
        return EpochEnded(now, progress.epoch, metrics, seconds, progress.best_epoch, progress.best_value)

    def _train(self) -> Generator[float | None, None, bool]:
        """Trains for the time of an epoch; returns whether it is complete: a trial that is stopped ends at once."""
        left_s = self._world.plan.epoch_s * self._world.rng.uniform(0.8, 1.2)
        self._new_since = math.inf if self.is_repeating else self._world.now
        self._inject_fault("an epoch")
        while left_s > _HEARTBEAT_INTERVAL_S or self._is_endless:
            left_s -= _HEARTBEAT_INTERVAL_S
            yield _HEARTBEAT_INTERVAL_S
            self._send(Heartbeat())
            if self._is_stopped and not self.is_repeating:
                return False
        yield max(left_s, 0.01)
        return not self._is_stopped or self.is_repeating

    def _save(self, progress: Progress) -> Steps:
        folder = self._folder
        if progress.best_epoch == progress.epoch:
            for path in (folder.held_out, folder.best):
                yield from self._write(path, sim_training.archive_of(progress.epoch))
        yield from self._write(folder.state, json.dumps(progress.curve).encode())

    def _write(self, path: Path, content: bytes) -> Steps:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(disk.WRITING + path.name)
        temporary.write_bytes(content[: len(content) // 2])
        yield self._world.rng.choice((0.001, 0.05))
        kind = self._world.draw_fault("trial write")
        if kind is not None:
            if kind != "trial killed in a write":
                temporary.unlink()
                self._record_cause("disk full")
                raise ProcessExit(DISK_FULL)
            self._record_cause("crash")
            raise ProcessExit(-signal.SIGKILL)
        temporary.write_bytes(content)
        temporary.replace(path)
        self._inject_fault(f"{path.name} is written")

    def _tell(self, event: Event, *, with_faults: bool = True) -> Generator[float | None, None, Answer]:
        """Writes and sends an event; returns the supervisor's answer to `EpochEnded`."""
        if with_faults:
            self._inject_fault("before an event is written")
        self._finished = isinstance(event, Finished)
        if event not in events.read(self._folder.events):
            self._write_event(event, with_faults=with_faults)
        self._recorded.add(type(event))
        yield self._world.rng.choice((0.0, 0.002, 0.1))
        if with_faults:
            self._inject_fault("between writing and sending")
        self._send(event)
        if not isinstance(event, EpochEnded):
            return Answer.CONTINUE
        yield None
        self._inject_fault("after the answer")
        return self._answer

    def _write_event(self, event: Event, *, with_faults: bool) -> None:
        owner = self._world.folder_locks.get(self._folder.root)
        if owner is not self and owner is not None:
            raise Violation(f"trial {self.number}: two processes write to one folder")
        kind = self._world.draw_fault("trial write") if with_faults else None
        if kind is not None and kind != "trial: disk full":
            write_torn(self._folder.events, event, self._world)
        if kind is not None:
            killed = kind == "trial killed in a write"
            self._record_cause("crash" if killed else "disk full")
            raise ProcessExit(-signal.SIGKILL if killed else DISK_FULL)
        self._append(self._folder.events, event)
        self._world.log(f"trial {self.number}", f"writes {sim_training.describe(event)}")

    def _send(self, message: Event | Heartbeat) -> None:
        if self.orphaned:
            raise ProcessExit(ORPHANED)
        place = "result message" if isinstance(message, Finished | Failed | Paused) else "message"
        kind = None if isinstance(message, Heartbeat) else self._world.draw_fault(place)
        if kind != "message lost":
            self._deliver(message, 0.001 if kind is None else self._world.rng.uniform(0.5, 12))

    def _record_cause(self, cause: Cause) -> None:
        self._world.causes[self.number].append(cause)

    def _inject_fault(self, where: str) -> None:
        """Injects a fault of the trial, or nothing."""
        kind = self._world.draw_fault("trial")
        if kind is None:
            return
        self._world.log(f"trial {self.number}", f"has a fault at {where}")
        rng = self._world.rng
        if kind == "trial exceeds memory limit":
            self.n_bytes = 2**33
        elif kind == "trial hangs":
            raise ProcessHang
        elif kind == "trial slow":
            self._is_endless = True
        elif kind in ("trial raises", "trial out of memory"):
            is_bug = kind == "trial raises"
            self._record_cause("failure" if is_bug else "crash")
            raise TrialError("error: ValueError: broken" if is_bug else "memory: MemoryError: out of memory")
        else:
            self._record_cause("crash")
            code = rng.choice((-9, -11, -6)) if kind == "trial killed" else rng.choice((1, 3, 139))
            raise ProcessExit(code)
