"""`rnnexp train`: one run, without a study; recorded in MLflow like any other."""

import argparse
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnexp import disk
from rnnexp.config.files import parse_assignment
from rnnexp.config.trial import TrialConfig, load_trial
from rnnexp.data.store import prepare, resolve
from rnnexp.engine import devices, local
from rnnexp.engine.executor import Exited
from rnnexp.errors import WorkError
from rnnexp.home import FORMER_SINGLE_RUNS, Home, TrialFolder
from rnnexp.study import failures, retention
from rnnexp.study.progress import ProgressReporter
from rnnexp.terminal import tables
from rnnexp.terminal.progress import watch
from rnnexp.tracking.sender import RefusedError
from rnnexp.trial import events
from rnnexp.trial.events import AttemptEnded, EpochEnded, Failed, Finished, Started
from rnnexp.trial.process import TrialJob
from rnnexp.trial.states import State


def run(args: argparse.Namespace) -> int:
    """Trains in a process of its own and says where the result is."""
    config = load_trial(
        Path(args.file) if args.file else None, dict(parse_assignment(text) for text in args.assignments)
    )
    home, console = Home.open(args.home), tables.console()
    data, fallback = resolve(config.data)
    if fallback:
        console.print(fallback, style="yellow", soft_wrap=True)
    config = config.model_copy(update={"data": data})
    store = prepare(data, home)
    number, folder = _claim(home)
    disk.write_text(folder.config, config.to_yaml())
    threads = local.n_cores()
    executor = local.LocalExecutor(1)
    seen = _Seen()
    job = TrialJob(
        config, folder, store.root, threads, 1, f"{FORMER_SINGLE_RUNS} {number}", devices.chosen(home.devices)
    )
    executor.submit(number, job)
    signal.signal(signal.SIGTERM, _ended)
    try:
        with watch(console, config.train.monitor, f"run {number}") as display:
            _follow(executor, number, config, display, seen)
    finally:
        interrupted = seen.finished is None and seen.failed is None and seen.exited is None
        executor.close()
        state = State.COMPLETE if seen.finished else State.WAITING if interrupted else State.FAIL
        reason = "" if seen.finished else seen.reason
        events.append(folder.events, AttemptEnded(time.time(), state, reason))
        retention.clean_up(folder, keep_model=True)
        run_id = _send(home, console)
    if seen.finished is None:
        raise WorkError(f"run {number} failed: {reason}; its log is {folder.log}")
    console.print(
        f"run {number}: {config.train.monitor} {seen.finished.metrics[config.train.monitor]:.4f} "
        f"at epoch {seen.finished.best_epoch}; MLflow run {run_id or 'not yet written'}; files in {folder.root}",
        soft_wrap=True,
    )
    return 0


@dataclass
class _Seen:
    """What came from the run's process."""

    finished: Finished | None = None
    failed: Failed | None = None
    exited: Exited | None = None

    @property
    def reason(self) -> str:
        if self.failed is not None:
            return self.failed.reason
        return failures.of_exit(self.exited)[1] if self.exited is not None else "interrupted"


def _follow(
    executor: local.LocalExecutor, number: int, config: TrialConfig, display: ProgressReporter, seen: _Seen
) -> None:
    while seen.exited is None:
        for _, message in executor.poll(0.25):
            if isinstance(message, Started):
                display.started(number, {"model.cell": config.model.cell}, 1, 0, config.train.epochs)
            elif isinstance(message, EpochEnded):
                executor.answer(number, True)
                display.epoch_ended(number, message)
            elif isinstance(message, Finished):
                seen.finished = message
            elif isinstance(message, Failed):
                seen.failed = message
            elif isinstance(message, Exited):
                seen.exited = message


def _ended(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def _claim(home: Home) -> tuple[int, TrialFolder]:
    """Makes the next run's folder; two that begin at once get two."""
    number = len(home.single_runs().numbers())
    while True:
        folder = home.single_runs().trial(number)
        try:
            folder.root.mkdir(parents=True)
            return number, folder
        except FileExistsError:
            number += 1


def _send(home: Home, console: Any) -> str | None:
    """Writes the runs that MLflow lacks, this one last; returns this one's id. MLflow's trouble is not the run's."""
    from rnnexp.tracking.projection import Projection

    run_id: str | None = None
    try:
        projection = Projection.open(home, FORMER_SINGLE_RUNS, FORMER_SINGLE_RUNS)
        for number in home.single_runs().numbers():
            try:
                run_id = projection.replay(number)
            except RefusedError as error:
                console.print(f"run {number}: MLflow refuses its record ({error})", soft_wrap=True)
                run_id = None
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        console.print(f"MLflow cannot be written ({reason}); the next `rnnexp train` sends this run", soft_wrap=True)
        return None
    return run_id
