"""Trials' processes as state machines: the protocol of `rnnexp/trial/run.py` and `fit.py`, without a network.

A process writes the real events into its real folder. It can end at every step, and an orphan may write for a while.
"""

import contextlib
import dataclasses
import json
import signal
import zlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

from rnnexp import disk
from rnnexp.config.trial import TrialConfig
from rnnexp.engine.executor import Exited
from rnnexp.trial import events
from rnnexp.trial.events import EpochEnded, Event, Failed, Finished, Started
from rnnexp.trial.process import DISK_FULL, ORPHANED, Heartbeat, TrialJob
from rnnexp.trial.progress import Progress
from tests.simulation.stores import Append, tear
from tests.simulation.world import Violation, World

_BEAT_S = 2.0
_LOCK_PATIENCE_S = 15.0
_MOST_SECONDS_AS_ORPHAN = 3.0

Life = Generator[float | None, None, Any]
"""A process' steps: seconds to wait, or None to wait for the supervisor's answer."""

DATA = {
    "name": "reviews",
    "digest": "0" * 20,
    "split": "1" * 20,
    "labels": ["neg", "pos"],
    "n_train": 80,
    "n_validation": 20,
    "n_test": 10,
    "source": "reviews",
}


class _Dies(Exception):
    """The process ends at once."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class _Hangs(Exception):
    """The process does nothing any more, and lives."""


class _TrialError(Exception):
    """What a trial's code raises."""


def metrics_of(config: TrialConfig, epoch: int) -> dict[str, float]:
    """Returns what an epoch of these settings measures, whoever trains it and however often."""
    key = f"{config.model.units}|{config.train.learning_rate}|{config.model.dropout}|{config.model.layers}|{epoch}"
    names = ("loss", "accuracy", "val_loss", "val_accuracy")
    return {name: 0.2 + 0.6 * zlib.crc32(f"{key}|{name}".encode()) / 2**32 for name in names}


class Process:
    """One attempt of a trial."""

    def __init__(
        self, world: World, number: int, job: TrialJob, append: Append, deliver: Callable[[Any, float], None]
    ) -> None:
        """Args:
        world: where it runs.
        number: the trial's.
        job: what it is given.
        append: the real `events.append`.
        deliver: brings a message to its supervisor, some seconds from now.
        """
        self._world, self.number, self._job = world, number, job
        self._append, self._deliver = append, deliver
        self.alive, self.orphaned = True, False
        self.bytes = 2**28
        self._awaiting = False
        self._answer = True
        self._endless = False
        self._finished = False
        self._life = self._main()
        world.processes.append(self)
        world.later(world.rng.uniform(0.02, 0.6), self._go_on)

    def be_orphaned(self) -> None:
        """Its supervisor is gone; it ends within seconds, or when it next wants to say something."""
        self.orphaned = True
        self._world.later(self._world.rng.uniform(0, _MOST_SECONDS_AS_ORPHAN), lambda: self.end(ORPHANED))

    def answer(self, go_on: bool) -> None:
        """The supervisor's answer to `EpochEnded` arrives."""
        if self.alive and self._awaiting:
            self._awaiting, self._answer = False, go_on
            self._go_on()

    def has_result(self) -> bool:
        """Tells whether the trial's record has a result."""
        happened = events.read(self._job.folder.events)
        return self._finished or any(isinstance(event, Failed) for event in happened[-1:])

    def end(self, code: int) -> None:
        """The process is no more."""
        if not self.alive:
            return
        self.alive = False
        self._life.close()
        self._world.processes.remove(self)
        self._unlock()
        self._world.say(f"trial {self.number}", f"process ends with {code}")
        if not self.orphaned:
            self._deliver(Exited(code), 0.001)

    def _go_on(self) -> None:
        if not self.alive:
            return
        try:
            wait = next(self._life)
        except StopIteration as done:
            self.end(done.value or 0)
        except _Dies as death:
            self.end(death.code)
        except _Hangs:
            self._world.say(f"trial {self.number}", "hangs")
        else:
            if wait is None:
                self._awaiting = True
            else:
                self._world.later(wait, self._go_on)

    def _main(self) -> Life:
        try:
            yield from self._locked()
            yield from self._fit()
            self._peril("drawing")
        except _TrialError as error:
            if self._finished:
                return 1
            yield self._world.rng.uniform(0, 0.01)
            kind, _, reason = str(error).partition(": ")
            yield from self._tell(Failed(self._world.wall(), kind, reason, "Traceback"), in_peril=False)
            return 1
        self._unlock()
        yield self._world.rng.uniform(0.001, 0.05)
        with contextlib.suppress(_TrialError):
            self._peril("the end")
        return 0

    def _locked(self) -> Life:
        self._peril("the start")
        locks, deadline = self._world.folder_locks, self._world.now + _LOCK_PATIENCE_S
        while self.number in locks:
            if self._world.now > deadline:
                raise Violation(f"trial {self.number}: an orphan keeps the folder")
            yield 0.1
        locks[self.number] = self
        if self.orphaned:
            raise _Dies(ORPHANED)

    def _unlock(self) -> None:
        if self._world.folder_locks.get(self.number) is self:
            del self._world.folder_locks[self.number]

    def _fit(self) -> Life:
        """Goes through the epochs as `fit` does."""
        job, folder = self._job, self._job.folder
        progress = Progress(job.config.train)
        progress.curve = self._restored()
        progress.seconds = self._world.plan.epoch_s * progress.epoch
        happened = events.read(folder.events)
        said = events.epochs(happened)
        yield 0.05
        now = self._world.wall()
        yield from self._tell(Started(now, job.attempt, progress.epoch, 1, 10, DATA, {"threads": 1}))
        settled = [event for event in happened if isinstance(event, Finished)]
        if settled:
            yield from self._tell(settled[-1])
            return
        on = True
        if progress.epoch:
            on = yield from self._tell(self._epoch_ended(progress, 0.0, said))
        while on and progress.epoch < job.config.train.epochs and not progress.out_of_patience:
            yield from self._train()
            metrics = metrics_of(job.config, progress.epoch + 1)
            if self._world.strike("epoch"):
                self._world.befell[self.number].append("failed")
                reason = f"epoch {progress.epoch + 1}: loss is nan"
                yield from self._tell(Failed(self._world.wall(), "diverged", reason))
                return
            progress.curve.append(metrics)
            progress.seconds += self._world.plan.epoch_s
            yield from self._save(progress)
            on = yield from self._tell(self._epoch_ended(progress, self._world.plan.epoch_s, said))
        early = on and progress.epoch < job.config.train.epochs
        ended = ("patience" if early else "epochs") if on else "pruned"
        now = self._world.wall()
        yield from self._tell(
            Finished(now, ended, progress.best_epoch, progress.best_metrics, 10, progress.seconds)  # type: ignore[arg-type]
        )

    def _restored(self) -> list[dict[str, float]]:
        folder = self._job.folder
        if not folder.state.exists() or not folder.best.exists():
            return []
        if self._world.strike("restore"):
            folder.state.unlink()
            return []
        curve: list[dict[str, float]] = json.loads(folder.state.read_text())
        return curve

    def _epoch_ended(self, progress: Progress, seconds: float, said: list[EpochEnded]) -> EpochEnded:
        metrics = progress.curve[-1]
        for event in said:
            if event.epoch == progress.epoch and event.metrics == metrics:
                return event
        now = self._world.wall()
        return EpochEnded(now, progress.epoch, metrics, seconds, progress.best_epoch, progress.best_value)

    def _train(self) -> Life:
        left = self._world.plan.epoch_s * self._world.rng.uniform(0.8, 1.2)
        self._peril("an epoch")
        while left > _BEAT_S or self._endless:
            left -= _BEAT_S
            yield _BEAT_S
            self._send(Heartbeat())
        yield max(left, 0.01)

    def _save(self, progress: Progress) -> Life:
        folder = self._job.folder
        if progress.best_epoch == progress.epoch:
            for path in (folder.best, folder.held_out):
                yield from self._write(path, str(progress.epoch))
        yield from self._write(folder.state, json.dumps(progress.curve))

    def _write(self, path: Path, text: str) -> Life:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(disk.WRITING + path.name)
        beside.write_text(text[: len(text) // 2])
        yield self._world.rng.choice((0.001, 0.05))
        kind = self._world.strike("trial's write")
        if kind is not None:
            if kind != "trial killed in a write":
                beside.unlink()
                self._handle_failure("disk")
                raise _Dies(DISK_FULL)
            self._handle_failure("died")
            raise _Dies(-signal.SIGKILL)
        beside.write_text(text)
        beside.replace(path)
        self._peril(f"{path.name} is written")

    def _tell(self, event: Event, *, in_peril: bool = True) -> Generator[float | None, None, bool]:
        """Writes and sends; returns the answer where one is due."""
        if in_peril:
            self._peril("before an event is written")
        self._finished = isinstance(event, Finished)
        if event not in events.read(self._job.folder.events):
            self._write_event(event, in_peril=in_peril)
        yield self._world.rng.choice((0.0, 0.002, 0.1))
        if in_peril:
            self._peril("between writing and sending")
        self._send(event)
        if not isinstance(event, EpochEnded):
            return True
        yield None
        self._peril("after the answer")
        return self._answer

    def _write_event(self, event: Event, *, in_peril: bool) -> None:
        owner = self._world.folder_locks.get(self.number)
        if owner is not self and owner is not None:
            raise Violation(f"trial {self.number}: two processes write one folder")
        kind = self._world.strike("trial's write") if in_peril else None
        if kind is not None and kind != "trial: disk full":
            tear(self._job.folder.events, event, self._world)
        if kind is not None:
            killed = kind == "trial killed in a write"
            self._handle_failure("died" if killed else "disk")
            raise _Dies(-signal.SIGKILL if killed else DISK_FULL)
        self._append(self._job.folder.events, event)
        self._world.say(f"trial {self.number}", f"writes {_words(event)}")

    def _send(self, message: Event | Heartbeat) -> None:
        if self.orphaned:
            raise _Dies(ORPHANED)
        place = "last word" if isinstance(message, Finished | Failed) else "message"
        kind = None if isinstance(message, Heartbeat) else self._world.strike(place)
        if kind != "message lost":
            self._deliver(message, 0.001 if kind is None else self._world.rng.uniform(0.5, 12))

    def _handle_failure(self, what: str) -> None:
        self._world.befell[self.number].append(what)

    def _peril(self, where: str) -> None:
        """Here a fault may strike."""
        kind = self._world.strike("trial")
        if kind is None:
            return
        self._world.say(f"trial {self.number}", f"suffers at {where}")
        rng = self._world.rng
        if kind == "trial over its memory":
            self.bytes = 2**33
        elif kind == "trial hangs":
            raise _Hangs
        elif kind == "trial slow":
            self._endless = True
        elif kind in ("trial raises", "trial lacks memory"):
            own = kind == "trial raises"
            self._handle_failure("failed" if own else "died")
            raise _TrialError("error: ValueError: broken" if own else "memory: MemoryError: want of memory")
        else:
            self._handle_failure("died")
            code = rng.choice((-9, -11, -6)) if kind == "trial killed" else rng.choice((1, 3, 139))
            raise _Dies(code)


def _words(event: Event) -> str:
    values = dataclasses.asdict(event)
    shown = {name: values[name] for name in ("attempt", "from_epoch", "epoch", "ended", "kind") if name in values}
    return f"{type(event).__name__} " + " ".join(f"{name} {value}" for name, value in shown.items())
