"""The kinds of fault, and how each is brought about in a sweep that runs. The one table."""

import contextlib
import os
import random
import resource
import signal
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from rnnexp.trial import events
from tests.drill import damage, processes
from tests.drill.processes import Process
from tests.drill.sweeps import SILENCE_S, NotSurvivedError, Sweep


class Where(StrEnum):
    """The rounds in which a kind can happen."""

    ANY = "any"
    SERVER = "server"
    """where the sweep writes to an MLflow server"""
    SMALL_DISK = "small disk"
    """where the home lies on a disk that can be filled"""
    DOOMED = "doomed"
    """in a sweep whose trials cannot succeed"""


@dataclass
class Scene:
    """What a fault is brought about in.

    Attributes:
        sweep: runs.
        rng: where moments and victims come from.
        hung: processes that are left behind stopped; the next start must end them.
    """

    sweep: Sweep
    rng: random.Random
    hung: list[int]

    def pause(self, least_s: float, most_s: float) -> None:
        time.sleep(self.rng.uniform(least_s, most_s))

    def victim(self) -> Process:
        """Returns a trial's process."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            trials = self.sweep.trials
            if trials:
                return self.rng.choice(trials)
            if not self.sweep.running:
                raise EndedError
            time.sleep(0.05)
        raise NotSurvivedError(f"no trial runs for 60 s; the sweep said last: {self.sweep.tail}")

    def epoch(self) -> None:
        """Waits until a trial that runs has an epoch behind it, and so has files."""
        deadline = time.monotonic() + 60
        while self.sweep.running and time.monotonic() < deadline:
            folders = [self.sweep.home.study(self.sweep.study).trial(one.trial or 0) for one in self.sweep.trials]
            if any(events.epochs(events.read(folder.events)) for folder in folders):
                return
            time.sleep(0.1)


class EndedError(Exception):
    """The sweep came to its end before the fault could be brought about."""


Inject = Callable[[Scene], None]


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        name: as the table shows it.
        inject: brings it about, and raises `NotSurvivedError` where what follows at once is wrong.
        weight: how often, in proportion.
        where: in which rounds.
        harm: for what is done to files while the sweep is down, instead of `inject`.
    """

    name: str
    inject: Inject | None = None
    weight: int = 2
    where: Where = Where.ANY
    harm: Callable[[Sweep, random.Random], bool] | None = None


def _to_a_trial(number: int) -> Inject:
    def inject(scene: Scene) -> None:
        while not processes.send(scene.victim().pid, number):
            continue

    return inject


def _gone(scene: Scene, pid: int, within_s: float, what: str) -> None:
    deadline = time.monotonic() + within_s
    while processes.alive(pid) and scene.sweep.running:
        if time.monotonic() > deadline:
            raise NotSurvivedError(f"{what}: its process {pid} still lives after {within_s:g} s")
        time.sleep(0.1)


def _hang(scene: Scene) -> None:
    victim = scene.victim()
    processes.send(victim.pid, signal.SIGSTOP)
    _gone(scene, victim.pid, SILENCE_S + 15, f"trial {victim.trial} hangs")


def _no_more_writing(scene: Scene) -> None:
    """Whatever the trial writes fails, its last words too: it ends with an exit code and says nothing."""
    victim = scene.victim()
    with contextlib.suppress(ProcessLookupError):
        resource.prlimit(victim.pid, resource.RLIMIT_FSIZE, (0, 0))
        _gone(scene, victim.pid, 30, f"trial {victim.trial} cannot write")


def _expect(scene: Scene, within_s: float, *codes: int) -> None:
    """The supervisor ends with one of the codes, or with 0 where its work was done just then."""
    code = scene.sweep.wait(within_s)
    if code not in (*codes, 0):
        raise NotSurvivedError(f"exit code {code}, expected {codes}; it said last: {scene.sweep.tail}")


def _ctrl_c(scene: Scene) -> None:
    scene.victim()
    os.killpg(scene.sweep.pid, signal.SIGINT)
    _expect(scene, 60, 130)


def _ctrl_c_twice(scene: Scene) -> None:
    scene.victim()
    os.killpg(scene.sweep.pid, signal.SIGINT)
    scene.pause(0.05, 0.6)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(scene.sweep.pid, signal.SIGINT)
    _expect(scene, 15, 130)


def _terminate(scene: Scene) -> None:
    scene.victim()
    processes.send(scene.sweep.pid, signal.SIGTERM)
    _expect(scene, 60, 143)


def kill_supervisor(scene: Scene) -> None:
    """Kills the supervisor, one time in three while it still begins."""
    processes.send(scene.sweep.pid, signal.SIGKILL)
    _expect(scene, 10, -signal.SIGKILL)


def _kill_with_a_hung_trial(scene: Scene) -> None:
    victim = scene.victim()
    if processes.send(victim.pid, signal.SIGSTOP):
        scene.hung.append(victim.pid)
    kill_supervisor(scene)


def _stop_a_hung_supervisor(scene: Scene) -> None:
    scene.victim()
    processes.send(scene.sweep.pid, signal.SIGSTOP)
    done = scene.sweep.run("stop", scene.sweep.study, "--home", str(scene.sweep.world.home))
    if done.returncode != 0 or done.stderr:
        raise NotSurvivedError(f"stop: exit {done.returncode}: {done.stdout} {done.stderr}")
    _expect(scene, 5, -signal.SIGKILL)


def _kill_forkserver(scene: Scene) -> None:
    scene.victim()
    forkserver = scene.sweep.forkserver
    if forkserver is None:
        raise EndedError
    processes.send(forkserver.pid, signal.SIGKILL)


def _second_supervisor(scene: Scene) -> None:
    scene.victim()
    done = scene.sweep.run(*scene.sweep.arguments)
    if not scene.sweep.running:
        raise EndedError
    told = f"is being run already, by process {scene.sweep.pid}" in done.stderr
    if done.returncode != 2 or not told or done.stderr.count("\n") != 1:
        raise NotSurvivedError(f"a second supervisor: exit {done.returncode}: {done.stdout} {done.stderr}")


def _server_away(scene: Scene) -> None:
    server = scene.sweep.world.server
    assert server is not None
    server.kill()
    scene.pause(2, 8)
    server.start()


def _server_slow(scene: Scene) -> None:
    server = scene.sweep.world.server
    assert server is not None
    server.signal(signal.SIGSTOP)
    try:
        scene.pause(4, 13)  # a request is given up after 10 s
    finally:
        server.signal(signal.SIGCONT)


def _lock(path: Path, scene: Scene) -> None:
    with contextlib.closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        scene.pause(3, 8)
        connection.execute("ROLLBACK")


def _lock_mlflow(scene: Scene) -> None:
    scene.victim()
    server = scene.sweep.world.server
    _lock(server.database if server else scene.sweep.home.mlflow_db, scene)


def _lock_optuna(scene: Scene) -> None:
    scene.victim()
    _lock(scene.sweep.home.optuna_db, scene)


def _fill_the_disk(scene: Scene) -> None:
    scene.victim()
    filler = scene.sweep.world.home.parent / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(65536))
    try:
        code = scene.sweep.wait(90)
        lines = scene.sweep.said.splitlines()
        said = [line for line in lines if line.startswith("study") and "the disk is full" in line]
        if code == 0:
            raise EndedError
        if code != 1 or len(said) != 1 or "free some" not in said[0]:
            raise NotSurvivedError(f"a full disk: exit {code}; it said {said or scene.sweep.tail}")
    finally:
        filler.unlink()


KINDS: tuple[Kind, ...] = (
    Kind("trial: SIGKILL (as the kernel's want of memory)", _to_a_trial(signal.SIGKILL), 4),
    Kind("trial: SIGSEGV", _to_a_trial(signal.SIGSEGV), 3),
    Kind("trial: SIGABRT", _to_a_trial(signal.SIGABRT), 3),
    Kind("trial: SIGTERM", _to_a_trial(signal.SIGTERM), 3),
    Kind("trial: hangs (SIGSTOP)", _hang, 2),
    Kind("trial: can write nothing; exit code 1", _no_more_writing, 2),
    Kind("supervisor: Ctrl-C", _ctrl_c, 3),
    Kind("supervisor: Ctrl-C twice", _ctrl_c_twice, 2),
    Kind("supervisor: SIGTERM", _terminate, 3),
    Kind("supervisor: SIGKILL", kill_supervisor, 4),
    Kind("supervisor: SIGKILL, a trial hung", _kill_with_a_hung_trial, 1),
    Kind("supervisor: hangs (SIGSTOP), rnnexp stop", _stop_a_hung_supervisor, 1),
    Kind("supervisor: a second one", _second_supervisor, 1),
    Kind("forkserver: SIGKILL", _kill_forkserver, 2),
    Kind("MLflow: server killed, later back", _server_away, 1, Where.SERVER),
    Kind("MLflow: server does not answer for a while", _server_slow, 1, Where.SERVER),
    Kind("MLflow: database locked for a while", _lock_mlflow, 2),
    Kind("Optuna: database locked for a while", _lock_optuna, 2),
    Kind("disk full, later freed", _fill_the_disk, 1, Where.SMALL_DISK),
    Kind("state.npz cut short", weight=1, harm=damage.of_a_trial("state", damage.cut)),
    Kind("state.npz altered", weight=1, harm=damage.of_a_trial("state", damage.alter)),
    Kind("best.keras cut short", weight=1, harm=damage.of_a_trial("best", damage.cut)),
    Kind("best.keras altered", weight=1, harm=damage.of_a_trial("best", damage.alter)),
    Kind("held_out.npz altered", weight=1, harm=damage.of_a_trial("held_out", damage.alter)),
    Kind("tokens.npy cut short", weight=1, harm=damage.of_the_cache(damage.cut)),
    Kind("tokens.npy altered", weight=1, harm=damage.of_the_cache(damage.alter)),
    Kind("events.jsonl: a torn last line", weight=1, harm=damage.of_a_trial("events", damage.tear)),
    Kind("plan.json emptied", weight=1, harm=damage.of_a_trial("plan", damage.empty)),
    Kind("mlflow.json removed", weight=1, harm=damage.of_a_trial("tracking", damage.remove)),
    Kind("trial: NaN", weight=1, where=Where.DOOMED),
    Kind("trial: an exception", weight=1, where=Where.DOOMED),
    Kind("trial: over limits.memory_gb", weight=1, where=Where.DOOMED),
    Kind("trial: over limits.trial_s", weight=1, where=Where.DOOMED),
)
"""The last four are settings or files by which a trial cannot succeed; `tests/drill/doomed.py` runs those."""
