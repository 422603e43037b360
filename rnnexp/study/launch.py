"""Runs a study's supervisor on this machine: its slots, the sender to MLflow, and signal handling.

It prints nothing. The caller holds the study's lock and decides what to show.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rnnexp import addresses
from rnnexp.config.sweep import SweepConfig
from rnnexp.config.trial import TrialConfig
from rnnexp.data.store import TokenStore, prepare
from rnnexp.engine.engine import Engine
from rnnexp.errors import StorageError, WorkError
from rnnexp.home import Home
from rnnexp.storage import postgres
from rnnexp.storage.store import StudyStore
from rnnexp.storage.study_lock import StudyLock
from rnnexp.study.progress import ProgressReporter
from rnnexp.study.records import TrialRecords
from rnnexp.study.stopping import Outcome
from rnnexp.study.supervisor import Supervisor
from rnnexp.tracking.projection import Projection
from rnnexp.tracking.sender import SenderThread

_STORAGE_TIMEOUT_S, _STORAGE_POLL_S = 900.0, 2.0
"""How long a study waits for the database of the studies, and how often it looks."""

SIGNAL_EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


def run_supervisor(
    config: SweepConfig,
    home: Home,
    study: StudyStore,
    tokens: TokenStore,
    engine: Engine,
    reporter: ProgressReporter,
    show: Callable[[Outcome], None],
    lock: StudyLock,
) -> Outcome:
    """Runs trials until the budget is used up, the time is over, or a signal arrives.

    If no trial is left to run, it only sends MLflow the records that it lacks. If the database of the studies is lost,
    the trials are interrupted until it is back.

    Args:
        config: the study's configuration.
        home: where the study is stored.
        study: the open study.
        tokens: the data that the base settings name.
        engine: where the trials run.
        reporter: receives the progress.
        show: is called when no trial runs any more, before MLflow gets what it still lacks.
        lock: of the study; the caller holds it.

    Returns:
        How the run ended.

    Raises:
        WorkError: if the database of the studies was lost and does not come back.
        StudyError: if another machine has taken the lock meanwhile.
    """
    run, started_at = _Run(config, home, tokens, engine, reporter, show, lock), time.monotonic()
    while (outcome := run.once(study, started_at)).can_continue:
        reporter.note(f"the studies' database is lost ({outcome.storage_fault}); the trials resume when it is back")
        study = run.open_again(study)
        reporter.note("the studies' database is back")
    return outcome


@dataclass(frozen=True)
class _Run:
    """The arguments of `run_supervisor`, without the study, which is opened again if its database was lost."""

    config: SweepConfig
    home: Home
    tokens: TokenStore
    engine: Engine
    reporter: ProgressReporter
    show: Callable[[Outcome], None]
    lock: StudyLock

    def once(self, study: StudyStore, started_at: float) -> Outcome:
        """Runs one supervisor.

        Args:
            study: the open study.
            started_at: when the time budget began, on the monotonic clock.
        """
        config, home = self.config, self.home
        pending = study.n_finished < config.n_trials
        reader, writer = os.pipe()
        executor = self.engine.executor(reader)
        sender = SenderThread(
            lambda: Projection.open(home, config.study, study.identity).replay,
            self.reporter.note,
            open_immediately=pending,
        )
        supervisor = Supervisor(
            config,
            study,
            TrialRecords(home.study(config.study), study.identity),
            executor,
            sender,
            self.reporter,
            _TokenStores(home, self.tokens, config.base).path,
            time,
            self.engine.device,
            self.lock.check,
            started_at,
        )
        with _signals_sent_to(supervisor, writer):
            try:
                return supervisor.run(self.show)
            finally:
                executor.close()

    def open_again(self, study: StudyStore) -> StudyStore:
        """Waits until the database of the studies is back; returns the study, whose lock is held again."""
        deadline = time.monotonic() + _STORAGE_TIMEOUT_S
        while True:
            try:
                self.lock.acquire()
                return StudyStore.open(self.home, self.config, self.tokens.digest, study.seconds)
            except Exception as error:
                if not isinstance(error, StorageError) and postgres.loss(error) is None:
                    raise
                if time.monotonic() > deadline:
                    raise WorkError(
                        f"study {self.config.study}: its database did not come back within "
                        f"{_STORAGE_TIMEOUT_S / 60:.0f} minutes ({addresses.one_line(error)}); run the same command "
                        "to resume when it is back"
                    ) from None
            time.sleep(_STORAGE_POLL_S)


class _TokenStores:
    """Builds each trial's token store once; trials with equal data settings share it."""

    def __init__(self, home: Home, tokens: TokenStore, base: TrialConfig) -> None:
        self._home = home
        self._paths = {base.data: tokens.root}

    def path(self, config: TrialConfig) -> Path:
        if config.data not in self._paths:
            self._paths[config.data] = prepare(config.data, self._home).root
        return self._paths[config.data]


def _write_to_null(descriptors: list[int]) -> None:
    """Discards what is written to a terminal that was closed: it would be an error."""
    null = os.open(os.devnull, os.O_WRONLY)
    for descriptor in descriptors:
        os.dup2(null, descriptor)
    os.close(null)


@contextlib.contextmanager
def _signals_sent_to(supervisor: Supervisor, writer: int) -> Iterator[None]:
    """The first signal asks the supervisor to stop; a second one ends the process at once.

    Args:
        supervisor: receives the signal's number.
        writer: a pipe end; a byte in it wakes the executor that waits for messages.
    """

    def receive(number: int, _: object) -> None:
        for known in numbers:
            signal.signal(known, lambda again, _: os._exit(SIGNAL_EXIT_CODES[signal.Signals(again)]))
        if number == signal.SIGHUP:
            _write_to_null(terminals)
        supervisor.receive_signal(number)
        os.write(writer, b"!")

    terminals = [descriptor for descriptor in (1, 2) if os.isatty(descriptor)]
    # `nohup` ignores SIGHUP, and that must stay so.
    is_kept = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    numbers = [number for number in SIGNAL_EXIT_CODES if number != signal.SIGHUP or not is_kept]
    previous = {number: signal.signal(number, receive) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
