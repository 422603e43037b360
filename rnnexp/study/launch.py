"""Runs a study's supervisor on this machine: its slots, the sender to MLflow, and signal handling.

It prints nothing. The caller holds the study's lock and decides what to show.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rnnexp.config.sweep import SweepConfig
from rnnexp.config.trial import TrialConfig
from rnnexp.data.store import TokenStore, prepare
from rnnexp.engine.engine import Engine
from rnnexp.home import Home
from rnnexp.storage.store import StudyStore
from rnnexp.study.progress import ProgressReporter
from rnnexp.study.records import TrialRecords
from rnnexp.study.stopping import Outcome
from rnnexp.study.supervisor import Supervisor
from rnnexp.tracking.projection import Projection
from rnnexp.tracking.sender import SenderThread

SIGNAL_EXIT_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


def run_supervisor(
    config: SweepConfig,
    home: Home,
    study: StudyStore,
    tokens: TokenStore,
    engine: Engine,
    reporter: ProgressReporter,
    show: Callable[[Outcome], None],
) -> Outcome:
    """Runs trials until the budget is used up, the time is over, or a signal arrives.

    If no trial is left to run, it only sends MLflow the records that it lacks.

    Args:
        config: the study's configuration.
        home: where the study is stored.
        study: the open study; the caller holds its lock.
        tokens: the data that the base settings name.
        engine: where the trials run.
        reporter: receives the progress.
        show: is called when no trial runs any more, before MLflow gets what it still lacks.

    Returns:
        How the run ended.
    """
    pending = study.n_finished < config.n_trials
    reader, writer = os.pipe()
    executor = engine.executor(reader)
    sender = SenderThread(
        lambda: Projection.open(home, config.study, study.identity).replay, reporter.note, open_immediately=pending
    )
    records = TrialRecords(home.study(config.study), study.identity)
    stores = _TokenStores(home, tokens, config.base)
    supervisor = Supervisor(config, study, records, executor, sender, reporter, stores.path, time, engine.device)
    with _signals_sent_to(supervisor, writer):
        try:
            return supervisor.run(show)
        finally:
            executor.close()


class _TokenStores:
    """Builds each trial's token store once; trials with equal data settings share it."""

    def __init__(self, home: Home, tokens: TokenStore, base: TrialConfig) -> None:
        self._home = home
        self._paths = {base.data: tokens.root}

    def path(self, config: TrialConfig) -> Path:
        if config.data not in self._paths:
            self._paths[config.data] = prepare(config.data, self._home).root
        return self._paths[config.data]


@contextlib.contextmanager
def _signals_sent_to(supervisor: Supervisor, writer: int) -> Iterator[None]:
    """The first signal asks the supervisor to stop; a second one ends the process at once.

    Args:
        supervisor: receives the signal's number.
        writer: a pipe end; a byte in it wakes the executor that waits for messages.
    """

    def receive(number: int, _: object) -> None:
        for known in SIGNAL_EXIT_CODES:
            signal.signal(known, lambda again, _: os._exit(SIGNAL_EXIT_CODES[signal.Signals(again)]))
        supervisor.receive_signal(number)
        os.write(writer, b"!")

    previous = {number: signal.signal(number, receive) for number in SIGNAL_EXIT_CODES}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
