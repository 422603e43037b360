"""`rnnexp sweep`: launch a study, or go on with it."""

import argparse
import contextlib
import hashlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rnnexp import disk
from rnnexp.config.files import parse_assignment
from rnnexp.config.load import load_sweep
from rnnexp.config.sweep import SweepConfig
from rnnexp.config.trial import TrialConfig
from rnnexp.data.store import TokenStore, prepare, resolve
from rnnexp.engine import devices, local
from rnnexp.errors import UserError, WorkError
from rnnexp.home import FORMER_SINGLE_RUNS, Home
from rnnexp.terminal import tables
from rnnexp.terminal.progress import watch

_SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}


def run(args: argparse.Namespace) -> int:
    """Runs the study of a sweep file up to its budget."""
    config = load_sweep(Path(args.file), _assignments(args))
    if config.study == FORMER_SINGLE_RUNS:
        raise UserError(
            f"{args.file}: study: {FORMER_SINGLE_RUNS!r} is the name of runs without a study; choose another"
        )
    if args.workers is not None and args.workers < 1:
        raise UserError(f"--workers: got {args.workers}, expected 1 or more")
    home = Home.open(args.home)
    if not args.dry_run and not home.study(config.study).recorded.exists():
        local.warm_up()  # beside the data's preparation; a study that was recorded may be done
    console = tables.console()
    data, fallback = resolve(config.base.data)
    if fallback:
        console.print(fallback, style="yellow", soft_wrap=True)
    config = config.model_copy(update={"base": config.base.model_copy(update={"data": data})})
    store = prepare(data, home)
    if args.dry_run:
        return _show_forecast(config, home, store, args.workers)
    return _run_study(config, home, store, args.workers)


def _show_forecast(config: SweepConfig, home: Home, store: TokenStore, workers: int | None) -> int:
    """Prints sample trials and what to expect; runs nothing."""
    from rnnexp.forecast.study import forecast

    console = tables.console()
    share = _share(config, store, workers)
    found = forecast(config, home, store, share.slots)
    console.print(tables.samples(found.samples[:10], found.seconds))
    basis = f"corrected by {found.n_measured} trials of this home" if found.n_measured else "no trial here yet to go by"
    console.print(
        f"\nstudy {config.study}: {found.n_left} of {config.n_trials} trials to run, {share.slots} at once: about "
        f"{tables.duration(found.total_seconds)} if none is pruned ({basis}); up to {found.memory_gb:.1f} GB of memory "
        f"a trial; about {found.disk_gb:.2f} GB of disk at the end",
        soft_wrap=True,
    )
    return 0


def _share(config: SweepConfig, store: TokenStore, workers: int | None) -> local.SlotPlan:
    """Shares the machine out to the study's trials; says so where the memory may not do."""
    from rnnexp.forecast.study import max_memory_gb

    needed = max_memory_gb(config, store.task.n_outputs)
    share = local.plan_slots(workers, config.n_trials, needed)
    if share.fitting is not None and share.slots > share.fitting:
        tables.console().print(
            f"the largest trial may need {needed:.1f} GB, and the free memory has room for {share.fitting}: "
            f"{share.slots} at once may run out of it (--workers, data.maxlen, train.batch_size, model.units)",
            style="yellow",
            soft_wrap=True,
        )
    return share


def _assignments(args: argparse.Namespace) -> dict[str, Any]:
    assignments = dict(parse_assignment(text) for text in args.assignments)
    flags = {"budget.trials": args.trials, "budget.timeout_s": args.timeout, "study": args.study}
    return assignments | {name: value for name, value in flags.items() if value is not None}


def _run_study(config: SweepConfig, home: Home, store: TokenStore, workers: int | None) -> int:
    from rnnexp.storage.store import StudyStore
    from rnnexp.storage.study_lock import hold_study_lock
    from rnnexp.storage.views import view
    from rnnexp.study.records import TrialRecords
    from rnnexp.study.supervisor import Supervisor
    from rnnexp.tracking.projection import Projection
    from rnnexp.tracking.sender import SenderThread

    console, folder, began = tables.console(), home.study(config.study), time.time()
    with hold_study_lock(folder.lock, config.study):
        study = StudyStore.open(home, config, store.digest)
        disk.write_text(folder.sweep, config.to_yaml())
        before = view(home, config.study)
        for version in before.space_versions:
            console.print(str(version), soft_wrap=True)
        share = _share(config, store, workers)
        if before.n_finished < config.n_trials:
            local.warm_up()
            verb = "goes on" if before.trials else "begins"
            console.print(
                f"study {config.study} {verb}: {before.n_finished} of {config.n_trials} trials finished; "
                f"data {store.name} ({store.n_pool:,} reviews); "
                f"{share.slots} at once, {share.threads} thread{'s' * (share.threads > 1)} each; home {home.root}",
                soft_wrap=True,
            )
        device = devices.chosen(home.devices) if before.n_finished < config.n_trials else "auto"
        stores = _Stores(home, store, config.base)
        reader, writer = os.pipe()
        executor = local.LocalExecutor(share.slots, signals=reader)
        with watch(console, config.objective.metric, config.study) as display:
            sender = SenderThread(
                lambda: Projection.open(home, config.study, study.identity).replay,
                display.note,
                at_once=before.n_finished < config.n_trials,
            )
            supervisor = Supervisor(
                config, study, TrialRecords(folder), executor, sender, display, stores.path, share.threads, time, device
            )
            with _listening(supervisor, writer):
                try:
                    # Where nothing is left to run, this sends MLflow what it has missed.
                    outcome = supervisor.run()
                finally:
                    executor.close()
        if outcome.unsent:
            console.print(f"MLflow lacks records of {len(outcome.unsent)} trials; the same command sends them")
        if outcome.halted:
            raise WorkError(f"study {config.study}: {outcome.halted}")
        if outcome.signal is not None:
            done = view(home, config.study)
            console.print(
                f"stopped by {signal.Signals(outcome.signal).name}: {done.n_finished} of {config.n_trials} trials "
                "finished; the same command goes on"
            )
            return _SIGNALS[signal.Signals(outcome.signal)]
        if outcome.out_of_time:
            console.print(f"the time budget of {config.budget.timeout_s:g} s is spent; the same command goes on")
        return _close(config, home, began)


class _Stores:
    """Each trial's token store: built once, found again by the settings that it depends on."""

    def __init__(self, home: Home, store: TokenStore, base: TrialConfig) -> None:
        self._home = home
        self._known = {base.data: store.root}

    def path(self, config: TrialConfig) -> Path:
        if config.data not in self._known:
            self._known[config.data] = prepare(config.data, self._home).root
        return self._known[config.data]


@contextlib.contextmanager
def _listening(supervisor: Any, writer: int) -> Iterator[None]:
    """The first signal asks for a clean end; a second one ends at once."""

    def receive(number: int, _: object) -> None:
        for known in _SIGNALS:
            signal.signal(known, lambda again, _: os._exit(_SIGNALS[signal.Signals(again)]))
        supervisor.receive_signal(number)
        os.write(writer, b"!")

    before = {number: signal.signal(number, receive) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _close(config: SweepConfig, home: Home, began: float) -> int:
    """Shows what came out, and records it."""
    from rnnexp.storage.views import view
    from rnnexp.trial.states import State

    console = tables.console()
    study = view(home, config.study)
    if study.best is None:
        reasons = sorted({row.reason for row in study.trials if row.reason})
        console.print(
            f"study {study.name}: no trial finished; {'; '.join(reasons[:3]) or 'none was begun'}", soft_wrap=True
        )
        return 1 if study.trials else 0
    console.print()
    console.print(tables.trials(study, study.ranked[:10], rank=True))
    failed, more = study.count(State.FAIL), len(study.ranked) - 10
    console.print()
    if more > 0:
        console.print(f"and {more} more: rnnexp trials {study.name}")
    if failed:
        console.print(
            f"{failed} of {study.n_finished} trials failed; `rnnexp trials {study.name}` says why", style="red"
        )
    _record(config, home, study, began)
    _show_best(study, console)
    _next_commands(study, home, console)
    return 0


def _record(config: SweepConfig, home: Home, study: Any, began: float) -> None:
    """Writes the study's own run: its report, its best model, unless it has them. MLflow's trouble is no trial's."""
    from rnnexp.analysis import report
    from rnnexp.commands.export import bundle_for_record
    from rnnexp.export.bundle import PYFUNC_CODE
    from rnnexp.tracking import best_model

    console = tables.console()
    folder = home.study(study.name)
    try:
        page = folder.root / "report.html"
        table = folder.root / "trials.csv"
        report.write_csv([study], table)
        outcome = hashlib.sha256(
            table.read_bytes() + folder.sweep.read_bytes() + home.tracking_uri.encode()
        ).hexdigest()
        known = folder.recorded.read_text(encoding="utf-8") if folder.recorded.exists() else None
        if outcome == known and best_model.is_logged(home, study):
            return
        report.write_html(home, [study], page)
        bundle = bundle_for_record(home, study)
        best_model.record(home, study, [folder.sweep, page, table], bundle, PYFUNC_CODE, began)
        disk.write_text(folder.recorded, outcome)
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        console.print(
            f"the study's own run could not be recorded in MLflow ({reason}); the trials' are", soft_wrap=True
        )


def _show_best(study: Any, console: Any) -> None:
    best = study.best
    settings = ", ".join(f"{name} {tables.short(value)}" for name, value in best.settings.items())
    console.print(
        f"best: trial {best.number}, {study.metric} {best.value:.4f} at epoch {best.best_epoch}: {settings}",
        soft_wrap=True,
        style="bold",
    )


def _program() -> str:
    """Returns what the user types to run this program: its name, or its path where the name is not found."""
    typed = Path(sys.argv[0])
    if typed.name == "__main__.py":
        return "python -m rnnexp"
    if shutil.which("rnnexp"):
        return "rnnexp"
    return os.path.relpath(typed)


def _next_commands(study: Any, home: Home, console: Any) -> None:
    where = "" if home.root == Path("mlruns").absolute() else f" --home {home.root}"
    program = _program()
    console.print("next:")
    for command, purpose in (
        (f"{program} compare {study.name}{where}", "tables, importances; --html FILE for curves"),
        (f"{program} export {study.name} --to best{where}", "the best model as a bundle that takes text"),
        (f'{program} predict best "I loved every minute of it."', "ask it"),
        (f"{program} ui{where}", "MLflow's pages"),
    ):
        console.print(f"  {command:<64} {purpose}", soft_wrap=True)
