"""Runs a study for `rnnexp sweep` and `rnnexp train`: prepares its data, shows its progress, records its result."""

import hashlib
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from rnnexp import addresses, disk, home_id, mounts
from rnnexp.config.sweep import SweepConfig
from rnnexp.config.trial import TrialConfig
from rnnexp.data.store import TokenStore, prepare, resolve
from rnnexp.engine import devices, local
from rnnexp.engine.devices import DeviceUse
from rnnexp.errors import RnnexpError, WorkError
from rnnexp.home import Home
from rnnexp.storage.bulk_reader import study_names
from rnnexp.storage.folders import check_new_study
from rnnexp.storage.views import StudyView, view
from rnnexp.terminal import tables
from rnnexp.terminal.progress import watch
from rnnexp.terminal.reading import progress_bar
from rnnexp.trial.plan import other_machine
from rnnexp.trial.states import FINISHED

if TYPE_CHECKING:
    from rnnexp.study.stopping import Outcome


def resolve_data(config: TrialConfig) -> TrialConfig:
    """Returns the settings with the data that are used; prints a line if that is the fallback."""
    data, fallback = resolve(config.data)
    if fallback:
        tables.console().print(fallback, style="yellow", soft_wrap=True)
    return config.model_copy(update={"data": data})


def prepare_data(config: TrialConfig, home: Home) -> TokenStore:
    """Returns the data of the settings; shows in a terminal how much of the user's own file has been read."""
    with progress_bar(tables.console(), f"reading {config.data.path or config.data.name}") as progress:
        return prepare(config.data, home, progress)


def run_study(
    config: SweepConfig,
    home: Home,
    tokens: TokenStore,
    workers: int | None,
    show_result: Callable[[StudyView], None],
    show_next: Callable[[StudyView], None],
) -> int:
    """Runs a study until its budget is used up, shows its result and records it in MLflow.

    Args:
        config: the study's configuration; its data settings are resolved.
        home: where the study is stored.
        tokens: the data that the base settings name.
        workers: trials at once; None derives it from cores and memory.
        show_result: prints the result, before the seconds that recording it takes.
        show_next: prints the last lines, after the recording.

    Returns:
        The exit code: 1 if no trial finished, 130 or 143 after a signal.

    Raises:
        StudyError: if the study is running elsewhere, or was started with another definition.
        WorkError: if the study was halted, such as by a full disk, or its best model cannot be exported.
    """
    from rnnexp.forecast.study import start_order
    from rnnexp.storage.store import StudyStore
    from rnnexp.storage.study_lock import hold_study_lock
    from rnnexp.study.launch import SIGNAL_EXIT_CODES, run_supervisor

    console, folder, started_at = tables.console(), home.study(config.study), time.time()
    _show_notes(home)
    check_new_study(home, config.study, study_names(home))  # before the lock creates a folder
    with hold_study_lock(folder.lock, config.study):
        study = StudyStore.open(home, config, tokens.digest, start_order(tokens))
        disk.write_text(folder.sweep, config.to_yaml())
        plan = _announce(config, home, tokens, workers)
        if study.n_finished < config.n_trials and study.repeated_tries:
            places = ", ".join(f"try.{place}" for place in study.repeated_tries)
            console.print(
                f"{places}: the same settings as an earlier entry of try; left out", style="yellow", soft_wrap=True
            )
        with watch(console, config.objective.metric, config.study) as display:
            outcome = run_supervisor(config, home, study, tokens, plan, display)
        _report_end(config, study.n_finished, outcome)
        if outcome.signal is not None:
            return SIGNAL_EXIT_CODES[signal.Signals(outcome.signal)]
        done = view(home, config.study)
        if done.best is None:
            reasons = sorted({row.reason for row in done.trials if row.reason})
            console.print(
                f"study {done.name}: no trial finished; {'; '.join(reasons[:3]) or 'none was started'}", soft_wrap=True
            )
            return 1 if done.trials else 0
        show_result(done)
        fault = _record(home, done, started_at)
        show_next(done)
        if fault is not None:
            raise WorkError(fault)
        return 0


def _show_notes(home: Home) -> None:
    """Prints a line if the address of MLflow is not used as it is, and one if this home is a new copy."""
    if home.tracking_note:
        tables.console().print(home.tracking_note, style="yellow", soft_wrap=True)
    identity = home_id.peek(home)
    if not identity.value and identity.is_copy and home.tracking_server is not None:
        tables.console().print(
            f"{home.root} is a copy of another home: its trials are sent to {home.tracking_server} as runs of its own",
            style="yellow",
            soft_wrap=True,
        )


def _report_end(config: SweepConfig, n_finished: int, outcome: "Outcome") -> None:
    """Prints why the supervisor ended and what is missing; raises `WorkError` if the study was halted."""
    console = tables.console()
    if outcome.unsent:
        n_records = f"the records of {tables.count(len(outcome.unsent), 'trial')}"
        console.print(f"MLflow lacks {n_records}; run the same command to send them")
    if outcome.halt_reason:
        raise WorkError(f"study {config.study}: {outcome.halt_reason}")
    if outcome.signal is not None:
        console.print(
            f"stopped by {signal.Signals(outcome.signal).name}: {n_finished} of {config.n_trials} trials finished; "
            "run the same command to resume",
            soft_wrap=True,
        )
    elif outcome.out_of_time:
        console.print(f"the time budget of {config.budget.timeout_s:g} s is used up; run the same command to resume")
    elif outcome.space_is_used:
        console.print(
            f"the search space has no further settings: each combination has a trial; {n_finished} of "
            f"{config.n_trials} trials finished; a wider range or another choice continues the study",
            soft_wrap=True,
        )


def _announce(config: SweepConfig, home: Home, tokens: TokenStore, workers: int | None) -> local.SlotPlan:
    """Prints what is about to run; returns how it shares the machine."""
    console, before = tables.console(), view(home, config.study)
    for version in before.space_versions:
        console.print(str(version), soft_wrap=True)
    kind = mounts.network_file_system(home.root)
    if kind is not None:
        console.print(
            f"home {home.root} is on a network file system ({kind}): its databases are slower there, and only one "
            "machine may use them at a time; a home on a local disk is better (--home)",
            style="yellow",
            soft_wrap=True,
        )
    is_pending = before.n_finished < config.n_trials
    plan = plan_slots(config, tokens, workers, devices.chosen_use(home.devices) if is_pending else DeviceUse())
    if is_pending:
        if before.trials and (note := other_machine(_plans(home, before))):
            console.print(note, style="yellow", soft_wrap=True)
        local.warm_up()
        verb = "resumes" if before.trials else "starts"
        console.print(
            f"study {config.study} {verb}: {before.n_finished} of {config.n_trials} trials finished; "
            f"data {tokens.name} ({tokens.n_pool:,} texts); "
            f"{plan.slots} at once, {tables.count(plan.threads, 'thread')} each; home {home.root}",
            soft_wrap=True,
        )
    return plan


def _plans(home: Home, study: StudyView) -> list[Path]:
    """Returns where the plans of the unfinished trials and of the last trial are stored."""
    rows = [row for row in study.trials if row.state not in FINISHED or row is study.trials[-1]]
    return [home.study(study.name).trial(row.number).plan for row in rows]


def plan_slots(config: SweepConfig, tokens: TokenStore, workers: int | None, use: DeviceUse) -> local.SlotPlan:
    """Shares the machine between the study's trials; prints a line if memory may not suffice or trials share a GPU."""
    from rnnexp.forecast.study import max_memory_gb

    needed = max_memory_gb(config, tokens.task.n_outputs)
    plan = local.plan_slots(workers, config.n_trials, needed, use)
    if use.gpus and plan.slots > len(use.gpus):
        tables.console().print(
            f"{plan.slots} trials at once share {tables.count(len(use.gpus), 'GPU')}: up to "
            f"{-(-plan.slots // len(use.gpus))} train on each (--workers)",
            style="yellow",
            soft_wrap=True,
        )
    if plan.fitting is not None and plan.slots > plan.fitting:
        tables.console().print(
            f"the largest trial may need {needed:.1f} GB, and the free memory suffices for {plan.fitting}: "
            f"{plan.slots} at once may run out of memory (--workers, data.maxlen, train.batch_size, model.units)",
            style="yellow",
            soft_wrap=True,
        )
    return plan


def _record(home: Home, study: StudyView, started_at: float) -> str | None:
    """Writes the study's own run with its report and best model, unless MLflow has them.

    Returns:
        Why the best model is not in MLflow, if it cannot be exported; else None. A failure of MLflow is only printed.
    """
    from rnnexp.analysis import report
    from rnnexp.export.bundle import PYFUNC_CODE
    from rnnexp.tracking import best_model

    folder, fault = home.study(study.name), None
    page, table = folder.root / "report.html", folder.root / "trials.csv"
    try:
        report.write_csv([study], table)
        content = table.read_bytes() + folder.sweep.read_bytes() + (home.tracking_server or home.mlflow_uri).encode()
        digest = hashlib.sha256(content).hexdigest()
        recorded = folder.recorded.read_text(encoding="utf-8") if folder.recorded.exists() else None
        is_logged = best_model.is_logged(home, study)
        if digest == recorded and is_logged:
            return None
        report.write_html(home, [study], page)
        bundle, fault = (None, None) if is_logged else _bundle(home, study)
        note = best_model.record(home, study, [folder.sweep, page, table], bundle, PYFUNC_CODE, started_at)
        if note:
            tables.console().print(note, soft_wrap=True)
        disk.write_text(folder.recorded, digest)
    except Exception as error:
        reason = addresses.one_line(error, 240)
        tables.console().print(
            f"MLflow has the trials' runs, but the study's own run could not be recorded ({reason})", soft_wrap=True
        )
    return fault


def _bundle(home: Home, study: StudyView) -> tuple[Path | None, str | None]:
    """Returns the checked bundle of the best model, if its trial has a run; and the fault, if it cannot be written."""
    from rnnexp.commands.export import bundle_for_record

    assert study.best is not None
    if study.best.run_id is None:
        return None, None
    try:
        return bundle_for_record(home, study), None
    except Exception as error:
        reason = (
            str(error)
            if isinstance(error, RnnexpError)
            else f"{type(error).__name__}: {addresses.one_line(error, 240)}"
        )
        return None, (
            f"study {study.name}: the model of trial {study.best.number}, the best one, could not be exported and is "
            f"not in MLflow; {reason}; the same command tries it again"
        )
