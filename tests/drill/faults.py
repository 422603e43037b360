"""The kinds of fault and how each is injected into a running sweep. `KINDS` is the complete table."""

import contextlib
import os
import resource
import signal
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tests.drill import damage, processes
from tests.drill.damage import DamageSweep
from tests.drill.fault_context import FaultContext, SweepEndedError
from tests.drill.sweeps import HEARTBEAT_TIMEOUT_S, MESSAGES, STUDY, SWEEP, NotSurvivedError

_OTHER_STUDY = "other"


class RoundType(StrEnum):
    """The type of round in which a kind of fault is possible."""

    ANY = "any"
    SERVER = "server"
    """the sweep writes to an MLflow server"""
    SMALL_DISK = "small disk"
    """the home is on a small disk that can be filled"""
    FAILING = "failing trials"
    """every trial of the sweep must fail"""
    TWO_HOMES = "two homes"
    """two homes write to one MLflow server"""
    RETENTION = "retention"
    """a sweep that keeps one model only"""


Inject = Callable[[FaultContext], None]


@dataclass(frozen=True)
class FaultKind:
    """A kind of fault.

    Attributes:
        name: the name in the table of results.
        inject: injects the fault into the running sweep; raises `NotSurvivedError` if the immediate effect is wrong.
        weight: the relative frequency of the kind.
        round_type: the type of round in which the kind is possible.
        damage: used instead of `inject` if the fault damages files while the sweep is stopped.
    """

    name: str
    inject: Inject | None = None
    weight: int = 2
    round_type: RoundType = RoundType.ANY
    damage: DamageSweep | None = None


def _signal_trial(number: int) -> Inject:
    def inject(context: FaultContext) -> None:
        while not processes.send_signal(context.wait_for_trial().pid, number):
            continue

    return inject


def _wait_until_dead(context: FaultContext, pid: int, timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while processes.is_alive(pid) and context.sweep.running:
        if time.monotonic() > deadline:
            raise NotSurvivedError(f"{what}: process {pid} is still alive after {timeout_s:g} s")
        time.sleep(0.1)


def _hang_trial(context: FaultContext) -> None:
    trial = context.wait_for_trial()
    processes.send_signal(trial.pid, signal.SIGSTOP)
    _wait_until_dead(context, trial.pid, HEARTBEAT_TIMEOUT_S + 15, f"trial {trial.trial} hangs")


def _block_writes_of_trial(context: FaultContext) -> None:
    """Every write of the trial fails, that of its failure reason too: it ends with an exit code only."""
    trial = context.wait_for_trial()
    with contextlib.suppress(ProcessLookupError):
        resource.prlimit(trial.pid, resource.RLIMIT_FSIZE, (0, 0))
        _wait_until_dead(context, trial.pid, 30, f"trial {trial.trial} cannot write")


def _expect_exit(context: FaultContext, timeout_s: float, *codes: int) -> None:
    """Checks that the supervisor ends with one of the codes, or with 0 if its work was done at that moment."""
    code = context.sweep.wait(timeout_s)
    if code not in (*codes, 0):
        raise NotSurvivedError(f"exit code {code}, expected {codes}; last output: {context.sweep.last_lines}")


def _press_ctrl_c(context: FaultContext) -> None:
    context.wait_for_trial()
    os.killpg(context.sweep.pid, signal.SIGINT)
    _expect_exit(context, 60, 130)


def _press_ctrl_c_twice(context: FaultContext) -> None:
    context.wait_for_trial()
    os.killpg(context.sweep.pid, signal.SIGINT)
    context.sleep(0.05, 0.6)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(context.sweep.pid, signal.SIGINT)
    _expect_exit(context, 15, 130)


def _terminate_supervisor(context: FaultContext) -> None:
    context.wait_for_trial()
    processes.send_signal(context.sweep.pid, signal.SIGTERM)
    _expect_exit(context, 60, 143)


def _close_terminal(context: FaultContext) -> None:
    context.wait_for_trial()
    processes.send_signal(context.sweep.pid, signal.SIGHUP)
    _expect_exit(context, 60, 129)


def kill_supervisor(context: FaultContext) -> None:
    """Kills the supervisor; a round sometimes calls this while the supervisor is still starting."""
    processes.send_signal(context.sweep.pid, signal.SIGKILL)
    _expect_exit(context, 10, -signal.SIGKILL)


def _kill_at_end(context: FaultContext) -> None:
    """Kills the supervisor while it writes the bundle of the best model and the study's own run."""
    deadline = time.monotonic() + 240
    while MESSAGES.ranking not in context.sweep.last_output:
        if not context.sweep.running:
            raise SweepEndedError
        if time.monotonic() > deadline:
            raise NotSurvivedError(f"no ranking after 240 s; last output: {context.sweep.last_lines}")
        time.sleep(0.02)
    context.sleep(0, 1.5)
    kill_supervisor(context)


def _kill_supervisor_of_hung_trial(context: FaultContext) -> None:
    trial = context.wait_for_trial(with_lock=True)
    if processes.send_signal(trial.pid, signal.SIGSTOP):
        context.stopped.append(trial.pid)
    kill_supervisor(context)


def _stop_hung_supervisor(context: FaultContext) -> None:
    context.wait_for_trial()
    processes.send_signal(context.sweep.pid, signal.SIGSTOP)
    done = context.sweep.run_command("stop", context.sweep.study, "--home", str(context.sweep.sandbox.home))
    if done.returncode != 0 or done.stderr:
        raise NotSurvivedError(f"stop: exit {done.returncode}: {done.stdout} {done.stderr}")
    _expect_exit(context, 5, -signal.SIGKILL)


def _kill_forkserver(context: FaultContext) -> None:
    context.wait_for_trial()
    forkserver = context.sweep.forkserver
    if forkserver is None:
        raise SweepEndedError
    processes.send_signal(forkserver.pid, signal.SIGKILL)


def _start_second_supervisor(context: FaultContext) -> None:
    context.wait_for_trial()
    done = context.sweep.run_command(*context.sweep.arguments)
    if not context.sweep.running:
        raise SweepEndedError
    refused = MESSAGES.already_running.format(pid=context.sweep.pid) in done.stderr
    if done.returncode != 2 or not refused or done.stderr.count("\n") != 1:
        raise NotSurvivedError(f"a second supervisor: exit {done.returncode}: {done.stdout} {done.stderr}")


def _restart_server(context: FaultContext) -> None:
    server = context.sweep.sandbox.server
    assert server is not None
    server.kill()
    context.sleep(2, 8)
    server.start()


def _pause_server(context: FaultContext) -> None:
    server = context.sweep.sandbox.server
    assert server is not None
    server.send_signal(signal.SIGSTOP)
    try:
        context.sleep(4, 13)  # a request times out after 10 s
    finally:
        server.send_signal(signal.SIGCONT)


def _lock_database(path: Path, context: FaultContext) -> None:
    with contextlib.closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        context.sleep(3, 8)
        connection.execute("ROLLBACK")


def _lock_mlflow(context: FaultContext) -> None:
    context.wait_for_trial()
    server = context.sweep.sandbox.server
    _lock_database(server.database if server else context.sweep.home.mlflow_db, context)


def _lock_optuna(context: FaultContext) -> None:
    context.wait_for_trial()
    _lock_database(context.sweep.home.optuna_db, context)


def _fill_disk(context: FaultContext) -> None:
    context.wait_for_trial()
    filler = context.sweep.sandbox.home.parent / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(65536))
    try:
        code = context.sweep.wait(90)
        lines = context.sweep.last_output.splitlines()
        reports = [line for line in lines if line.startswith("study") and MESSAGES.disk_full in line]
        if code == 0:
            raise SweepEndedError
        if code != 1 or len(reports) != 1 or MESSAGES.free_disk not in reports[0]:
            raise NotSurvivedError(f"a full disk: exit {code}; output: {reports or context.sweep.last_lines}")
    finally:
        filler.unlink()


def _run_command(context: FaultContext, codes: tuple[int, ...], *arguments: str) -> None:
    """Runs a command on the sweep's home, and checks its exit code and that standard error is empty."""
    done = context.sweep.run_command(*arguments, "--home", str(context.sweep.sandbox.home))
    if done.returncode not in codes or done.stderr:
        raise NotSurvivedError(f"{arguments[0]}: exit {done.returncode}: {done.stdout[-500:]} {done.stderr[-500:]}")


def _delete_other_study(context: FaultContext) -> None:
    """Runs another small study in the same home, and deletes it while the sweep runs."""
    context.wait_for_trial()
    sweep = context.sweep
    file = sweep.sandbox.root / "other.yaml"
    file.write_text(SWEEP.replace(f"study: {STUDY}", f"study: {_OTHER_STUDY}"))
    _run_command(context, (0,), "sweep", str(file), "--trials", "1", "--workers", "1", "--set", "train.epochs=1")
    _run_command(context, (0,), "delete", _OTHER_STUDY, "--yes")
    if sweep.home.study(_OTHER_STUDY).root.exists():
        raise NotSurvivedError("the folder of the deleted study still exists")


def _repair_beside_sweep(context: FaultContext) -> None:
    """Repairs the home while the sweep runs; the running study must stay as it is."""
    context.wait_for_trial()
    _run_command(context, (0, 1), "doctor", "--repair", "--no-devices")


KINDS: tuple[FaultKind, ...] = (
    FaultKind("trial: SIGKILL (as by the out-of-memory killer)", _signal_trial(signal.SIGKILL), 4),
    FaultKind("trial: SIGSEGV", _signal_trial(signal.SIGSEGV), 3),
    FaultKind("trial: SIGABRT", _signal_trial(signal.SIGABRT), 3),
    FaultKind("trial: SIGTERM", _signal_trial(signal.SIGTERM), 3),
    FaultKind("trial: hangs (SIGSTOP)", _hang_trial, 2),
    FaultKind("trial: every write fails, exit code 1", _block_writes_of_trial, 2),
    FaultKind("supervisor: Ctrl-C", _press_ctrl_c, 3),
    FaultKind("supervisor: Ctrl-C twice", _press_ctrl_c_twice, 2),
    FaultKind("supervisor: SIGTERM", _terminate_supervisor, 3),
    FaultKind("supervisor: its terminal is closed", _close_terminal, 3),
    FaultKind("supervisor: SIGKILL", kill_supervisor, 4),
    FaultKind("supervisor: SIGKILL after the ranking", _kill_at_end, 2),
    FaultKind("supervisor: SIGKILL while a trial hangs", _kill_supervisor_of_hung_trial, 1),
    FaultKind("supervisor: hangs (SIGSTOP), then rnnexp stop", _stop_hung_supervisor, 1),
    FaultKind("supervisor: a second one is started", _start_second_supervisor, 1),
    FaultKind("forkserver: SIGKILL", _kill_forkserver, 2),
    FaultKind("another study is run and deleted beside the sweep", _delete_other_study, 1),
    FaultKind("rnnexp doctor --repair beside the sweep", _repair_beside_sweep, 1),
    FaultKind("MLflow: server killed, restarted later", _restart_server, 1, RoundType.SERVER),
    FaultKind("MLflow: server does not respond for a while", _pause_server, 1, RoundType.SERVER),
    FaultKind("MLflow: database locked for a while", _lock_mlflow, 2),
    FaultKind("Optuna: database locked for a while", _lock_optuna, 2),
    FaultKind("disk full, later freed", _fill_disk, 1, RoundType.SMALL_DISK),
    FaultKind("state.npz truncated", weight=1, damage=damage.damage_trial_file("state", damage.truncate)),
    FaultKind("state.npz corrupted", weight=1, damage=damage.damage_trial_file("state", damage.corrupt)),
    FaultKind("best.keras truncated", weight=1, damage=damage.damage_trial_file("best", damage.truncate)),
    FaultKind("best.keras corrupted", weight=1, damage=damage.damage_trial_file("best", damage.corrupt)),
    FaultKind("held_out.npz corrupted", weight=1, damage=damage.damage_trial_file("held_out", damage.corrupt)),
    FaultKind("tokens.npy truncated", weight=1, damage=damage.damage_token_store(damage.truncate)),
    FaultKind("tokens.npy corrupted", weight=1, damage=damage.damage_token_store(damage.corrupt)),
    FaultKind(
        "events.jsonl: incomplete last line",
        weight=1,
        damage=damage.damage_trial_file("events", damage.append_partial_line),
    ),
    FaultKind("plan.json emptied", weight=1, damage=damage.damage_trial_file("plan", damage.empty)),
    FaultKind("mlflow.json removed", weight=1, damage=damage.damage_trial_file("tracking", damage.remove)),
    FaultKind("trial: NaN", weight=1, round_type=RoundType.FAILING),
    FaultKind("trial: an exception", weight=1, round_type=RoundType.FAILING),
    FaultKind("trial: exceeds limits.memory_gb", weight=1, round_type=RoundType.FAILING),
    FaultKind("trial: exceeds limits.trial_s", weight=1, round_type=RoundType.FAILING),
    FaultKind("two homes on one MLflow server, one is repaired and deleted", weight=1, round_type=RoundType.TWO_HOMES),
    FaultKind("exports beside the removal of models", weight=1, round_type=RoundType.RETENTION),
)
"""`tests/drill/failing.py` runs those of failing trials, `tests/drill/neighbours.py` the last two."""
