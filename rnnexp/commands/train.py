"""`rnnexp train`: one run, without a study; recorded in MLflow like any other."""

import argparse
import time
from pathlib import Path

from rnnexp.config.files import parse_assignment
from rnnexp.config.trial import load_trial
from rnnexp.data.store import prepare, resolve
from rnnexp.engine import local
from rnnexp.engine.executor import Exited
from rnnexp.errors import WorkError
from rnnexp.home import SINGLE_RUNS, Home
from rnnexp.terminal import tables
from rnnexp.terminal.progress import watch
from rnnexp.trial import events
from rnnexp.trial.events import Closed, EpochEnded, Failed, Finished, Started
from rnnexp.trial.run import TrialJob


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
    number = _next_number(home)
    folder = home.single_runs().trial(number)
    folder.root.mkdir(parents=True)
    _, threads = local.share_out(1, 1)
    executor = local.LocalExecutor(1)
    finished: Finished | None = None
    failed: Failed | None = None
    executor.submit(number, TrialJob(config, folder, store.root, threads, 1, f"{SINGLE_RUNS} {number}"))
    try:
        with watch(console, config.train.monitor, f"run {number}") as display:
            running = True
            while running:
                for _, message in executor.poll(0.25):
                    if isinstance(message, Started):
                        display.started(number, {"model.cell": config.model.cell}, 1, 0, config.train.epochs)
                    elif isinstance(message, EpochEnded):
                        executor.answer(number, True)
                        display.epoch_ended(number, message)
                    elif isinstance(message, Finished):
                        finished = message
                    elif isinstance(message, Failed):
                        failed = message
                    elif isinstance(message, Exited):
                        running = False
    finally:
        executor.close()
        state = "COMPLETE" if finished else "FAIL"
        reason = "" if finished else failed.reason if failed else "its process was ended"
        events.append(folder.events, Closed(time.time(), state, reason))
        run_id = _send(home, number)
    if finished is None:
        raise WorkError(f"run {number} failed: {reason}; its log is {folder.log}")
    console.print(
        f"run {number}: {config.train.monitor} [bold]{finished.metrics[config.train.monitor]:.4f}[/] "
        f"at epoch {finished.best_epoch}; MLflow run {run_id}; files in {folder.root}",
        soft_wrap=True,
    )
    return 0


def _next_number(home: Home) -> int:
    folder = home.single_runs().trials
    taken = [int(path.name) for path in folder.iterdir() if path.name.isdigit()] if folder.is_dir() else []
    return max(taken, default=-1) + 1


def _send(home: Home, number: int) -> str | None:
    from rnnexp.study.tracking import Projection

    return Projection(home, SINGLE_RUNS).replay(number)
