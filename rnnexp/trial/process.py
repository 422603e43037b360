"""The process of a trial: its folder, its log, its threads, and its end when the supervisor has died.

The process starts in `main`. It holds a lock on the folder, writes every event to the folder before it sends it, and
terminates itself when its supervisor has died.
"""

import contextlib
import faulthandler
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing import connection, forkserver, parent_process, resource_tracker
from pathlib import Path
from typing import Any, NoReturn

from rnnexp import disk
from rnnexp.errors import DataError
from rnnexp.home import TrialFolder
from rnnexp.trial import events
from rnnexp.trial.answer import Answer
from rnnexp.trial.events import EpochEnded, Event, Failed, Finished, Paused, Started
from rnnexp.trial.folder_lock import hold_folder_lock
from rnnexp.trial.job import Place, Share, TrialJob
from rnnexp.trial.plan import other_machine, stored_or_chosen

_HEARTBEAT_S = 2.0
_LOOK_INTERVAL_S = 0.25
DISK_FULL, ORPHANED, LOCKED = 78, 79, 80
"""Exit codes: the process could not write; its supervisor has died; another process works in its folder."""


@dataclass(frozen=True)
class Heartbeat:
    """Shows between two events that the process is alive; it is sent, never stored."""


@dataclass(frozen=True)
class StopRequest:
    """Is sent to the process: the trial ends after the running batch and keeps the result of its best epoch."""


@dataclass(frozen=True)
class UseThreads:
    """Is sent to the process: the trial may use so many threads from now on. It does not change the result."""

    threads: int


def main(job: TrialJob, place: Place, share: Share, pipe: Any, preloaded: bool) -> None:
    """Runs one attempt. Writes its events to the folder and sends them to the supervisor.

    Args:
        job: the attempt.
        place: its files.
        share: its part of the machine.
        pipe: sends events and, regularly, a `Heartbeat`; after an `EpochEnded` it receives an `Answer`; it may receive
            a `StopRequest` or a `UseThreads` at any time.
        preloaded: whether the forkserver should have imported TensorFlow.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if preloaded:
        _close_forkserver_fds()
    _exit_when_supervisor_dies()
    _raise_oom_score()
    try:
        _log_to(place.folder.log)
        faulthandler.enable()
        if preloaded and "tensorflow" not in sys.modules:
            print("the forkserver could not import TensorFlow; this process imports it", flush=True)  # noqa: T201
        with hold_folder_lock(place.folder) as is_locked:
            if not is_locked:
                print("another process works in this folder", flush=True)  # noqa: T201 - to the trial's log
                os._exit(LOCKED)
            _exit_if_orphaned()
            _run_and_report(job, place, share, EventReporter(job, place.folder, pipe))
    except Exception as error:  # without the lock, nothing may be written to the events
        if disk.is_full(error):
            os._exit(DISK_FULL)
        traceback.print_exception(error)
        sys.exit(1)


def _run_and_report(job: TrialJob, place: Place, share: Share, reporter: "EventReporter") -> None:
    try:
        _run(job, place, share, reporter)
        reporter.draw_curves()
    except Exception as error:
        _fail(reporter, error)


def _fail(reporter: "EventReporter", error: Exception) -> NoReturn:
    """Reports an exception as the last event of the attempt and ends the process."""
    if disk.is_full(error):
        os._exit(DISK_FULL)  # the event could not be written either
    traceback.print_exception(error)
    if reporter.finished:
        sys.exit(1)  # the result is recorded; only the figure is missing
    reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    with contextlib.suppress(OSError):
        reporter.report(
            Failed(time.time(), _kind(error, reporter.has_trained), reason, "".join(traceback.format_exception(error)))
        )
    sys.exit(1)


class EventReporter:
    """Reports events from the trial to its supervisor: first to the folder, then through the pipe."""

    def __init__(self, job: TrialJob, folder: TrialFolder, pipe: Any) -> None:
        self._job, self._folder, self._pipe = job, folder, pipe
        self._last_heartbeat = time.monotonic()
        self._next_look = self._last_heartbeat
        self._is_stopped = False
        self.use_threads: Callable[[int], None] = lambda threads: None
        self.finished = self.has_trained = False

    def report(self, event: Event) -> Answer:
        """Writes and sends an event; returns what to do next. An event that is written already is only sent."""
        if isinstance(event, Started):
            event = replace(event, study=self._job.study)
        if event not in events.read(self._folder.events):
            events.append(self._folder.events, event)
        self.finished = isinstance(event, Finished)
        self.has_trained = self.has_trained or isinstance(event, Started)
        print(_log_line(event), flush=True)  # noqa: T201 - to the trial's log
        return self._exchange(event, has_answer=isinstance(event, EpochEnded))

    def heartbeat(self) -> bool:
        """Sends a heartbeat, if the last one was long enough ago; returns False once the user has stopped the trial.

        It is called after every batch, so it looks for messages only a few times a second.
        """
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + _LOOK_INTERVAL_S
            self._look_for_messages()
            if now - self._last_heartbeat > _HEARTBEAT_S:
                self._last_heartbeat = now
                self._exchange(Heartbeat(), has_answer=False)
        return not self._is_stopped

    def _look_for_messages(self) -> None:
        try:
            while self._pipe.poll():
                self._receive()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            os._exit(ORPHANED)

    def _receive(self) -> Answer | None:
        """Receives one message: an answer, or another message, for which it returns None."""
        message = self._pipe.recv()
        if isinstance(message, UseThreads):
            self.use_threads(message.threads)
            return None
        if isinstance(message, StopRequest):
            self._is_stopped = True
            return None
        return Answer(message)

    def _exchange(self, message: Event | Heartbeat, *, has_answer: bool) -> Answer:
        try:
            self._pipe.send(message)
            answer: Answer | None = None if has_answer else Answer.CONTINUE
            while answer is None:
                answer = self._receive()
            return answer
        except (EOFError, BrokenPipeError, ConnectionResetError):
            os._exit(ORPHANED)

    def draw_curves(self) -> None:
        """Draws the curves, if the trial has finished."""
        if self.finished:
            from rnnexp.trial import history

            history.write(self._folder, self._job.title)


def _kind(error: Exception, has_trained: bool) -> str:
    """Returns the failure kind of an exception. TensorFlow has its own exception for out of memory.

    Before the training, an error of the operating system is that of the environment, not of the trial.
    """
    if isinstance(error, OSError) and not has_trained:
        return "environment"
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return "memory"
    return "data" if isinstance(error, DataError) else "error"


def _run(job: TrialJob, place: Place, share: Share, reporter: EventReporter) -> None:
    from rnnexp.data.store import TokenStore
    from rnnexp.model import cost
    from rnnexp.model.kernel.team import Team

    store = TokenStore.open(place.store)
    mean_length = store.mean_length(job.config.data)

    def useful(threads: int) -> int:
        return cost.useful_threads(job.config, mean_length, threads)

    plan = stored_or_chosen(place.folder.plan, job.config, useful(share.threads), job.device)
    team = Team(useful(share.threads))

    def use_threads(threads: int) -> None:
        if useful(threads) != team.size and plan.kernel == "compiled":
            team.resize(useful(threads))
            print(f"threads: {team.size}", flush=True)  # noqa: T201 - to the trial's log

    reporter.use_threads = use_threads
    if note := other_machine([place.folder.plan]):
        print(note, flush=True)  # noqa: T201 - to the trial's log
    _select_gpu(share)
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(plan.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    if plan.device == "CPU":
        tf.config.set_visible_devices([], "GPU")
    for device in tf.config.get_visible_devices("GPU"):
        tf.config.experimental.set_memory_growth(device, True)
    tf.config.experimental.enable_op_determinism()
    from rnnexp.trial.fit import fit

    fit(job.config, store, place.folder, plan, job.attempt, reporter.report, reporter.heartbeat, team)


def _select_gpu(share: Share) -> None:
    """Selects the trial's GPU. TensorFlow and CUDA read the variable at the first operation, not at their import."""
    if share.gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = share.gpu


def _log_line(event: Event) -> str:
    """Returns an event as a line of the trial's log."""
    when = time.strftime("%H:%M:%S", time.localtime(event.time))
    if isinstance(event, Started):
        resumed = f", resuming after epoch {event.from_epoch}" if event.from_epoch else ""
        rows = f"{event.data['n_train']:,} texts, {event.data['n_validation']:,} held out"
        return f"{when} attempt {event.attempt}: {event.n_params:,} weights; {event.data['name']}, {rows}{resumed}"
    if isinstance(event, EpochEnded):
        metrics = " ".join(f"{name} {value:.4f}" for name, value in event.metrics.items())
        return f"{when} epoch {event.epoch}: {metrics} ({event.seconds:.1f} s); best is epoch {event.best_epoch}"
    if isinstance(event, Finished):
        reason = f" ({event.reason})" if event.reason else ""
        return f"{when} finished by {event.ended}{reason}; best epoch {event.best_epoch}, {event.train_seconds:.1f} s"
    if isinstance(event, Paused):
        return f"{when} paused after epoch {event.epoch}"
    return f"{when} failed: {event.reason}" if isinstance(event, Failed) else when


def _close_forkserver_fds() -> None:
    """Closes the file descriptors by which a child could start processes. Open, they keep the forkserver alive.

    So a trial that hangs after the death of its supervisor keeps no other process alive.
    """
    owners = forkserver._forkserver, resource_tracker._resource_tracker
    for owner, name in zip(owners, ("_forkserver_alive_fd", "_fd"), strict=True):
        descriptor = getattr(owner, name, None)
        if descriptor is not None:
            os.close(descriptor)
            setattr(owner, name, None)


def _raise_oom_score() -> None:
    """Asks the kernel to kill this process first when memory runs out, not the supervisor or other programs."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _log_to(path: Path) -> None:
    """Redirects standard output and error, also of C++ libraries, to the trial's log."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


def _exit_if_orphaned() -> None:
    """Exits if the supervisor died while this process waited for its folder; a new supervisor may use it now."""
    parent = parent_process()
    if parent is not None and not parent.is_alive():
        os._exit(ORPHANED)


def _exit_when_supervisor_dies() -> None:
    """Starts a thread that waits for the end of the supervisor."""
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(ORPHANED)

    threading.Thread(target=watch, daemon=True, name="supervisor-watch").start()
