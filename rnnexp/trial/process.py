"""A trial's process: its folder, its log, its threads, its supervisor's end.

`main` is where the process begins. It holds a lock on the folder, writes every event there before it is sent, and
ends itself when its supervisor is gone.
"""

import contextlib
import faulthandler
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import connection, forkserver, parent_process, resource_tracker
from pathlib import Path
from typing import Any, NoReturn

from rnnexp import disk, locks
from rnnexp.config.trial import TrialConfig
from rnnexp.errors import DataError
from rnnexp.home import TrialFolder
from rnnexp.trial import events
from rnnexp.trial.events import EpochEnded, Event, Failed, Finished, Started
from rnnexp.trial.plan import stored_or_chosen

_LOCK_PATIENCE_S = 15
"""A process whose supervisor is gone ends at once; one that holds its folder for longer hangs."""
_BEAT_S = 2.0
DISK_FULL, ORPHANED = 78, 79
"""Exit codes: of a process that could not write, and of one whose supervisor is gone."""


@dataclass(frozen=True)
class Heartbeat:
    """A sign of life between two events; it is sent, never stored."""


@dataclass(frozen=True)
class TrialJob:
    """What a trial's process is given.

    Attributes:
        config: all settings.
        folder: the trial's own.
        store: the token store's folder.
        threads: at most; an earlier attempt's plan counts before what its steps can use.
        attempt: from 1.
        title: of its picture.
        device: for TensorFlow, unless an earlier attempt's plan says otherwise.
    """

    config: TrialConfig
    folder: TrialFolder
    store: Path
    threads: int
    attempt: int
    title: str
    device: str = "auto"


def main(job: TrialJob, pipe: Any, preloaded: bool) -> None:
    """Runs one attempt to its end; what happens is in the folder's events and, as it happens, on the pipe.

    Args:
        job: what to run.
        pipe: events go out on it, and now and then a `Heartbeat`; after an `EpochEnded` it brings True (go on) or False
            (pruned).
        preloaded: whether TensorFlow should be here already, by the forkserver.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if preloaded:
        _close_forkserver_fds()
    _end_with_the_supervisor()
    _raise_oom_score()
    line = EventReporter(job, pipe)
    try:
        _log_to(job.folder.log)
        faulthandler.enable()
        if preloaded and "tensorflow" not in sys.modules:
            print("the forkserver could not import TensorFlow; this process imports it", flush=True)  # noqa: T201
        with _sole_owner(job.folder):
            _end_if_orphaned()
            try:
                _run(job, line)
                line.draw()
            except Exception as error:
                _fail(line, error)  # while the folder is still this process' own
    except Exception as error:
        _fail(line, error)


def _fail(line: "EventReporter", error: Exception) -> NoReturn:
    """Ends the process with what was raised as the trial's last word."""
    if disk.is_full(error):
        os._exit(DISK_FULL)  # nothing can be written, not even that
    traceback.print_exception(error)
    if line.finished:
        sys.exit(1)  # its result stands; a picture is missing
    reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    with contextlib.suppress(OSError):
        line.tell(Failed(time.time(), _kind(error), reason, "".join(traceback.format_exception(error))))
    sys.exit(1)


class EventReporter:
    """The way from the trial to its supervisor: through the folder's events, then the pipe."""

    def __init__(self, job: TrialJob, pipe: Any) -> None:
        self._job, self._pipe = job, pipe
        self._beaten = time.monotonic()
        self.finished = False

    def tell(self, event: Event) -> bool:
        """Writes and sends an event; returns the answer where one is due. What was written before is sent only."""
        if event not in events.read(self._job.folder.events):
            events.append(self._job.folder.events, event)
        self.finished = isinstance(event, Finished)
        print(_words(event), flush=True)  # noqa: T201 - to the trial's log
        return self._exchange(event, answered=isinstance(event, EpochEnded))

    def beat(self) -> None:
        """Tells that the trial is alive, a few times a minute at most."""
        if time.monotonic() - self._beaten > _BEAT_S:
            self._beaten = time.monotonic()
            self._exchange(Heartbeat(), answered=False)

    def _exchange(self, message: Event | Heartbeat, *, answered: bool) -> bool:
        try:
            self._pipe.send(message)
            return bool(self._pipe.recv()) if answered else True
        except (EOFError, BrokenPipeError, ConnectionResetError):
            os._exit(ORPHANED)

    def draw(self) -> None:
        """Draws the curves of a trial that has finished."""
        if self.finished:
            from rnnexp.trial import history

            history.write(self._job.folder, self._job.title)


def _kind(error: Exception) -> str:
    """Returns what an exception counts as; TensorFlow has a name of its own for want of memory."""
    if isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError":
        return "memory"
    return "data" if isinstance(error, DataError) else "error"


def _run(job: TrialJob, line: EventReporter) -> None:
    from rnnexp.data.store import TokenStore
    from rnnexp.model import cost

    store = TokenStore.open(job.store)
    threads = cost.useful_threads(job.config, store.mean_length(job.config.data), job.threads)
    plan = stored_or_chosen(job.folder.plan, job.config, threads, job.device)
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(plan.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    if plan.device == "CPU":
        tf.config.set_visible_devices([], "GPU")
    for device in tf.config.get_visible_devices("GPU"):
        tf.config.experimental.set_memory_growth(device, True)
    if not plan.jit:
        tf.config.experimental.enable_op_determinism()
    from rnnexp.trial.fit import fit

    fit(job.config, store, job.folder, plan, job.attempt, line.tell, line.beat)


def _words(event: Event) -> str:
    """An event as a line of the trial's log."""
    when = time.strftime("%H:%M:%S", time.localtime(event.time))
    if isinstance(event, Started):
        again = f", going on after epoch {event.from_epoch}" if event.from_epoch else ""
        rows = f"{event.data['n_train']:,} reviews, {event.data['n_validation']:,} held out"
        return f"{when} attempt {event.attempt}: {event.n_params:,} weights; {event.data['name']}, {rows}{again}"
    if isinstance(event, EpochEnded):
        metrics = " ".join(f"{name} {value:.4f}" for name, value in event.metrics.items())
        return f"{when} epoch {event.epoch}: {metrics} ({event.seconds:.1f} s); best is epoch {event.best_epoch}"
    if isinstance(event, Finished):
        return f"{when} finished by {event.ended}; best epoch {event.best_epoch}, {event.train_seconds:.1f} s"
    return f"{when} failed: {event.reason}" if isinstance(event, Failed) else when


def _close_forkserver_fds() -> None:
    """Closes what multiprocessing gives a child so that it could start others: it keeps the forkserver alive.

    So a trial that hangs when its supervisor is gone is all that is left of it.
    """
    given = forkserver._forkserver, resource_tracker._resource_tracker
    for owner, name in zip(given, ("_forkserver_alive_fd", "_fd"), strict=True):
        descriptor = getattr(owner, name, None)
        if descriptor is not None:
            os.close(descriptor)
            setattr(owner, name, None)


def _raise_oom_score() -> None:
    """Asks the kernel, when memory runs out, to end this process rather than its supervisor or the user's others."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _log_to(path: Path) -> None:
    """Sends standard output and error, the C++ libraries' too, to the trial's log."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


def _end_if_orphaned() -> None:
    """The supervisor may have died before this process had its folder; whoever came after waits for nobody else."""
    parent = parent_process()
    if parent is not None and not parent.is_alive():
        os._exit(ORPHANED)


def _end_with_the_supervisor() -> None:
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(ORPHANED)

    threading.Thread(target=watch, daemon=True, name="supervisor-watch").start()


@contextlib.contextmanager
def _sole_owner(folder: TrialFolder) -> Iterator[None]:
    """Holds the folder's lock; an orphan of an earlier supervisor may need a moment to end."""
    with folder.lock.open("w") as file:
        if not locks.acquire(file, _LOCK_PATIENCE_S):
            raise RuntimeError(f"{folder.root} is still used by another process")
        yield


def wait_for_lock_release(folder: TrialFolder) -> None:
    """Returns when no process has the folder any more; one that hangs is killed.

    For whoever holds the study's lock: what still writes there is an orphan, and nobody waits for what it does.
    """
    if folder.lock.exists():
        with folder.lock.open("w") as file:
            if not locks.acquire(file, _LOCK_PATIENCE_S):
                for pid in locks.holders(folder.lock):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                locks.acquire(file, _LOCK_PATIENCE_S)
