"""Runs a study for `rnnexp sweep` and `rnnexp train`: prepares its data, shows its progress, records its result."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from rnnexp import disk, home_id, mounts
from rnnexp.config.sweep import SweepConfig
from rnnexp.config.trial import TrialConfig
from rnnexp.data.store import TokenStore, prepare, resolve
from rnnexp.engine import devices, local, start_method
from rnnexp.engine.devices import DeviceUse
from rnnexp.engine.engine import Engine, LocalEngine
from rnnexp.errors import StudyError, WorkError
from rnnexp.home import Home
from rnnexp.storage.bulk_reader import study_names
from rnnexp.storage.folders import check_new_study
from rnnexp.storage.views import StudyView, add_runs, view
from rnnexp.terminal import progress, tables
from rnnexp.terminal.progress import Watch
from rnnexp.terminal.reading import progress_bar
from rnnexp.trial.plan import other_machine
from rnnexp.trial.states import FINISHED

if TYPE_CHECKING:
    from rnnexp.engine.ray_cluster import RayEngine
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


def is_finished(home: Home, config: SweepConfig) -> bool:
    """Tells whether all trials of the study have finished; False for a new study."""
    try:
        return view(home, config.study, with_runs=False).n_finished >= config.n_trials
    except StudyError:
        return False


@contextlib.contextmanager
def connected(config: SweepConfig, home: Home) -> "Iterator[RayEngine | None]":
    """Connects to the Ray cluster of the configuration until the end of the block.

    Yields:
        The cluster; None if the trials run on this machine, or none is left to run.

    Raises:
        UserError: if the cluster cannot be used.
    """
    if config.engine.name == "local" or is_finished(home, config):
        yield None
        return
    from rnnexp.engine.ray_cluster import connect
    from rnnexp.engine.ray_nodes import SlotNeeds

    engine = config.engine
    needs = SlotNeeds(engine.cpus, engine.gpus, engine.memory_gb)
    cluster = connect(engine.address, needs, engine.max_slots, config.n_trials)
    try:
        yield cluster
    finally:
        cluster.close()


def run_study(
    config: SweepConfig,
    home: Home,
    tokens: TokenStore,
    cluster: "RayEngine | None",
    show_result: Callable[[StudyView], None],
    show_next: Callable[[StudyView], None],
    extended: Callable[[StudyView], SweepConfig | None] = lambda study: None,
    watch: Callable[[Console, str, str], Watch] = progress.watch,
) -> int:
    """Runs a study until its budget is used up, shows its result and records it in MLflow.

    Args:
        config: the study's configuration; its data settings are resolved.
        home: where the study is stored.
        tokens: the data that the base settings name.
        cluster: where the trials run; None for this machine.
        show_result: prints the result as soon as no trial runs any more. The runs in MLflow are not known yet.
        show_next: prints the last lines, after the recording.
        watch: returns the display of the running study.
        extended: is asked when the budget is used up; returns the same sweep with a larger one, or None to end.

    Returns:
        The exit code: 1 if no trial finished, 130 or 143 after a signal.

    Raises:
        StudyError: if the study is running elsewhere, or was started with another definition.
        WorkError: if the study was halted, such as by a full disk, or its best model cannot be exported.
    """
    from rnnexp.commands.end_preparation import EndPreparation, PreparingReporter
    from rnnexp.commands.report_thread import ReportThread
    from rnnexp.commands.study_record import discard_unfinished, record
    from rnnexp.forecast.study import start_order
    from rnnexp.storage.store import StudyStore
    from rnnexp.storage.study_lock import hold_study_lock
    from rnnexp.study.launch import SIGNAL_EXIT_CODES, run_supervisor

    console, folder, started_at = tables.console(), home.study(config.study), time.time()
    _show_notes(home)
    check_new_study(home, config.study, study_names(home))  # before the lock creates a folder
    with hold_study_lock(home, config.study) as lock:
        study = StudyStore.open(home, config, tokens.digest, start_order(tokens))
        disk.write_text(folder.sweep, config.to_yaml())
        discard_unfinished(folder.bundle)
        engine = _announce(config, home, tokens, cluster)
        is_pending = study.n_finished < config.n_trials
        if is_pending and study.repeated_tries:
            places = ", ".join(f"try.{place}" for place in study.repeated_tries)
            console.print(
                f"{places}: the same settings as an earlier entry of try; left out", style="yellow", soft_wrap=True
            )
        preparation = EndPreparation(home, config.study, study.identity, engine.n_fitting)
        display = watch(console, config.objective.metric, config.study)
        shown: StudyView | None = None
        larger: SweepConfig | None = None

        def show(outcome: "Outcome") -> None:
            nonlocal shown, larger
            display.close()
            if outcome.signal is not None or outcome.halt_reason:
                return
            _report_early_end(config, outcome)
            shown = view(home, config.study, with_runs=False)
            larger = None if outcome.out_of_time else extended(shown)
            if larger is None and shown.best is not None:
                show_result(shown)
                if is_pending:
                    preparation.proceed(shown.best.number, 0, is_last=True)

        with contextlib.closing(preparation):
            if is_pending:
                preparation.start_imports()
            while True:
                with display, contextlib.closing(ReportThread(home, config.study, started_at)):
                    reporter = PreparingReporter(display, preparation)
                    outcome = run_supervisor(config, home, study, tokens, engine, reporter, show, lock)
                _report_end(config, outcome)
                if outcome.signal is not None:
                    return SIGNAL_EXIT_CODES[signal.Signals(outcome.signal)]
                if larger is None:
                    break
                config = larger
                study = StudyStore.open(home, config, tokens.digest, start_order(tokens))
                disk.write_text(folder.sweep, config.to_yaml())
                display = watch(console, config.objective.metric, config.study)
            assert shown is not None
            done = shown
            if done.best is None:
                return _report_no_result(done)
            done = add_runs(done)
            fault = record(home, done, started_at, preparation)
            show_next(done)
        if fault is not None:
            raise WorkError(fault)
        return 0


def _report_no_result(study: StudyView) -> int:
    """Prints why no trial has a result; returns the exit code."""
    reasons = sorted({row.reason for row in study.trials if row.reason})
    tables.console().print(
        f"study {study.name}: no trial finished; {'; '.join(reasons[:3]) or 'none was started'}", soft_wrap=True
    )
    return 1 if study.trials else 0


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


def _report_end(config: SweepConfig, outcome: "Outcome") -> None:
    """Prints what MLflow lacks and which signal ended the study; raises `WorkError` if the study was halted."""
    console = tables.console()
    if outcome.unsent:
        n_records = f"the records of {tables.count(len(outcome.unsent), 'trial')}"
        console.print(f"MLflow lacks {n_records}; run the same command to send them")
    if outcome.halt_reason:
        raise WorkError(f"study {config.study}: {outcome.halt_reason}")
    if outcome.signal is not None:
        console.print(
            f"stopped by {signal.Signals(outcome.signal).name}: {outcome.n_finished} of {config.n_trials} trials "
            "finished; run the same command to resume",
            soft_wrap=True,
        )


def _report_early_end(config: SweepConfig, outcome: "Outcome") -> None:
    """Prints why a study that was neither stopped nor halted ended before its budget of trials was used up."""
    console = tables.console()
    if outcome.out_of_time:
        console.print(f"the time budget of {config.budget.timeout_s:g} s is used up; run the same command to resume")
    elif outcome.space_is_used:
        console.print(
            f"the search space has no further settings: each combination has a trial; {outcome.n_finished} of "
            f"{config.n_trials} trials finished; a wider range or another choice continues the study",
            soft_wrap=True,
        )


def _announce(config: SweepConfig, home: Home, tokens: TokenStore, cluster: "RayEngine | None") -> Engine:
    """Prints what is about to run; returns where it runs."""
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
    engine: Engine
    if cluster is not None:
        engine = cluster
    else:
        use = devices.chosen_use(home.devices) if is_pending else DeviceUse()
        engine = LocalEngine(plan_slots(config, tokens, use))
    if is_pending:
        if before.trials and (note := other_machine(_plans(home, before))):
            console.print(note, style="yellow", soft_wrap=True)
        start_method.warm_up()
        verb = "resumes" if before.trials else "starts"
        console.print(
            f"study {config.study} {verb}: {before.n_finished} of {config.n_trials} trials finished; "
            f"data {tokens.name} ({tokens.n_pool:,} texts); "
            f"{engine.describe()}; home {home.root}",
            soft_wrap=True,
        )
    elif home.study(config.study).recorded.exists():
        start_method.cool_down()  # the record is almost certainly complete, so nothing needs TensorFlow
    return engine


def _plans(home: Home, study: StudyView) -> list[Path]:
    """Returns where the plans of the unfinished trials and of the last trial are stored."""
    rows = [row for row in study.trials if row.state not in FINISHED or row is study.trials[-1]]
    return [home.study(study.name).trial(row.number).plan for row in rows]


def plan_slots(config: SweepConfig, tokens: TokenStore, use: DeviceUse) -> local.SlotPlan:
    """Shares the machine between the study's trials; prints a line if memory may not suffice or trials share a GPU."""
    from rnnexp.forecast.study import max_memory_gb

    if use.device != "GPU" and config.may_have("train.precision", "mixed_bfloat16"):
        tables.console().print(
            "train.precision: mixed_bfloat16 is for GPUs; on this CPU such trials take several times as long as with "
            "float32",
            style="yellow",
            soft_wrap=True,
        )
    needed = max_memory_gb(config, tokens.task.n_outputs)
    plan = local.plan_slots(config.engine.max_slots, config.n_trials, needed, use)
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
