"""The drill on a Ray cluster of this machine: faults of the local drill, and of nodes, slots, the head and PostgreSQL.

python -m tests.drill.on_ray --faults 48 --seed 0     about twenty minutes on two cores

Every round is compared with a sweep without faults on this machine: also trials that moved between nodes must end with
the same weights, bit for bit.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.drill import processes
from tests.drill.fault_context import FaultContext, SweepEndedError
from tests.drill.faults import KINDS, FaultKind
from tests.drill.processes import Process
from tests.drill.rounds import FIRST_TRIALS, MAX_TRIALS, Result, Round
from tests.drill.sweeps import STUDY, SWEEP, NotSurvivedError, Sandbox, Sweep, copy_cache
from tests.postgres_server import PostgresServer, running_postgres
from tests.ray_cluster import TestCluster, running_cluster

_N_NODES = 3
_ROUND_SIZE = 12
_DEAD_AFTER_S = 16.0
"""A frozen node counts as dead after about nine seconds (`tests/ray_cluster.py`)."""
_SAME_AS_LOCAL = (
    "trial: SIGKILL (as by the out-of-memory killer)",
    "trial: SIGSEGV",
    "trial: hangs (SIGSTOP)",
    "trial: every write fails, exit code 1",
    "supervisor: Ctrl-C",
    "supervisor: Ctrl-C twice",
    "supervisor: SIGTERM",
    "supervisor: SIGKILL",
    "supervisor: SIGKILL after the ranking",
    "supervisor: SIGKILL while a trial hangs",
    "supervisor: hangs (SIGSTOP), then rnnexp stop",
    "supervisor: a second one is started",
    "rnnexp doctor --repair beside the sweep",
    "MLflow: database locked for a while",
    "state.npz truncated",
    "best.keras corrupted",
    "events.jsonl: incomplete last line",
)


class Team:
    """The cluster and the database of the drill; the cluster can be started again.

    Attributes:
        nodes: the folder of the nodes' files.
        postgres: the database server.
    """

    def __init__(self, root: Path, postgres: PostgresServer) -> None:
        self.nodes, self.postgres = root / "nodes", postgres
        os.environ["RNNEXP_NODE_DIR"] = str(self.nodes)
        self._stack = ExitStack()
        self.cluster: TestCluster = self._stack.enter_context(running_cluster(_N_NODES))

    def restart(self) -> None:
        """Ends what is left of the cluster, and starts a new one."""
        self.close()
        self.cluster = self._stack.enter_context(running_cluster(_N_NODES))

    def close(self) -> None:
        self._stack.close()
        self._stack = ExitStack()

    def complete(self) -> None:
        """Adds the nodes that are missing."""
        while len(self.cluster.nodes) < _N_NODES:
            self.cluster.add_node()


class RaySweep(Sweep):
    """A sweep whose trials run on the cluster."""

    def __init__(self, sandbox: Sandbox, team: Team) -> None:
        options = ["--engine", "ray", "--address", team.cluster.address, "--trials", str(FIRST_TRIALS)]
        super().__init__(sandbox, SWEEP, STUDY, *options)
        self.team = team

    def start(self) -> None:
        self.arguments[self.arguments.index("--address") + 1] = self.team.cluster.address
        super().start()

    @property
    def trial_processes(self) -> list[Process]:
        return [
            process
            for process in processes.all_readable()
            if process.trial is not None and process.log.startswith(str(self.team.nodes))
        ]


class RayRound(Round):
    """A round on the cluster: when the supervisor has ended, no trial may run on any node."""

    def _check_after_end(self) -> int:
        code = super()._check_after_end()
        sweep = self.sweep
        assert isinstance(sweep, RaySweep)
        deadline = time.monotonic() + 30
        while left := [one for one in sweep.trial_processes if one.pid not in self._stopped_processes()]:
            if time.monotonic() > deadline:
                self._add_problems(*(f"runs on a node without its supervisor: {process}" for process in left))
                break
            time.sleep(0.2)
        sweep.team.complete()
        return code


def _team(context: FaultContext) -> Team:
    assert isinstance(context.sweep, RaySweep)
    return context.sweep.team


def _kill_node(context: FaultContext) -> None:
    context.wait_for_trial()
    cluster = _team(context).cluster
    cluster.kill_node(context.rng.choice(cluster.nodes))
    context.sleep(0, 3)
    cluster.add_node()


def _freeze_node(context: FaultContext) -> None:
    """The node comes back before it counts as dead: its trials go on."""
    context.wait_for_trial()
    cluster = _team(context).cluster
    with cluster.frozen(context.rng.choice(cluster.nodes)):
        context.sleep(1, 4)


def _freeze_node_until_dead(context: FaultContext) -> None:
    """The node comes back when its trials have moved; Ray ends it then."""
    context.wait_for_trial()
    cluster = _team(context).cluster
    node = context.rng.choice(cluster.nodes)
    with cluster.frozen(node):
        time.sleep(_DEAD_AFTER_S)
    cluster.forget(node)
    cluster.add_node()


def _slots() -> list[Process]:
    return [process for process in processes.all_readable() if process.command.startswith("ray::RaySlot")]


def _kill_slot(context: FaultContext) -> None:
    context.wait_for_trial()
    slots = _slots()
    if not slots:
        raise SweepEndedError
    processes.send_signal(context.rng.choice(slots).pid, signal.SIGKILL)


def _kill_forkserver_of_slot(context: FaultContext) -> None:
    context.wait_for_trial()
    slots = {process.pid for process in _slots()}
    servers = [one for one in processes.all_readable() if one.parent in slots and "forkserver" in one.command]
    if not servers:
        raise SweepEndedError
    processes.send_signal(context.rng.choice(servers).pid, signal.SIGKILL)


def _restart_head(context: FaultContext) -> None:
    """The sweep ends with one line, and goes on when there is a cluster again."""
    context.wait_for_trial()
    team = _team(context)
    team.cluster.kill_head()
    code = context.sweep.wait(90)
    if code not in (0, 1) or "Traceback" in context.sweep.last_output:
        raise NotSurvivedError(f"the head is gone: exit {code}; last output: {context.sweep.last_lines}")
    team.restart()


_FILL = """
import sys, time
import numpy as np
import ray
ray.init(address=sys.argv[1], logging_level="error")
kept = [ray.put(np.zeros(2**25, np.uint8)) for _ in range(14)]  # 448 MB; the store has 256
time.sleep(float(sys.argv[2]))
"""


def _fill_object_store(context: FaultContext) -> None:
    context.wait_for_trial()
    command = [sys.executable, "-c", _FILL, _team(context).cluster.address, str(context.rng.uniform(3, 8))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode != 0 and context.sweep.running:
        raise RuntimeError(f"the object store could not be filled: {done.stderr[-500:]}")


def _restart_postgres(context: FaultContext) -> None:
    context.wait_for_trial()
    postgres = _team(context).postgres
    postgres.stop()
    context.sleep(0, 6)
    postgres.start()


RAY_KINDS: tuple[FaultKind, ...] = (
    *(kind for kind in KINDS if kind.name in _SAME_AS_LOCAL),
    FaultKind("Ray: node killed", _kill_node, 4),
    FaultKind("Ray: node frozen for a moment (SIGSTOP)", _freeze_node, 3),
    FaultKind("Ray: node frozen until it counts as dead, then back", _freeze_node_until_dead, 2),
    FaultKind("Ray: slot (actor) killed", _kill_slot, 4),
    FaultKind("Ray: forkserver of a slot killed", _kill_forkserver_of_slot, 2),
    FaultKind("Ray: head killed, a new cluster started", _restart_head, 1),
    FaultKind("Ray: object store full for a while", _fill_object_store, 1),
    FaultKind("PostgreSQL: stopped, started later", _restart_postgres, 3),
)
"""All kinds of fault. The last one is possible in every second round only, whose studies are in PostgreSQL."""


def plan(n_faults: int, rng: random.Random) -> list[list[FaultKind]]:
    """Returns the faults of each round: each kind once, the rest by weight."""
    faults = list(RAY_KINDS)[:n_faults]
    faults += rng.choices(RAY_KINDS, [kind.weight for kind in RAY_KINDS], k=n_faults - len(faults))
    rng.shuffle(faults)
    in_postgres = [kind for kind in faults if kind.inject is _restart_postgres]
    others = [kind for kind in faults if kind.inject is not _restart_postgres]
    n_rounds = max(2, -(-n_faults // _ROUND_SIZE))
    rounds: list[list[FaultKind]] = [[] for _ in range(n_rounds)]
    for place, kind in enumerate(in_postgres):
        rounds[(2 * place + 1) % (n_rounds - n_rounds % 2)].append(kind)
    for kind in others:
        min(rounds, key=len).append(kind)
    for kinds in rounds:
        rng.shuffle(kinds)
    return rounds


class RayDrill:
    """The rounds of one seed."""

    def __init__(self, root: Path, seed: int) -> None:
        self._root, self._seed, self._start_time = root, seed, time.monotonic()
        self.n_injected: Counter[str] = Counter()
        self.n_survived: Counter[str] = Counter()
        self.failed_rounds: list[int] = []

    def log(self, line: str) -> None:
        print(f"{time.monotonic() - self._start_time:6.0f} s  {line}", flush=True)

    def run_reference(self) -> Sweep:
        """Runs the sweep on this machine without faults."""
        root = self._root / "reference"
        root.mkdir(parents=True)
        sweep = Sweep(Sandbox(root, root / "home"), SWEEP, STUDY, "--trials", str(MAX_TRIALS))
        sweep.run_to_completion()
        sweep.kill_all()
        seen = sweep.view()
        sweep.view = lambda: seen  # type: ignore[method-assign]  # later rounds read another database
        self.log(f"reference sweep without faults: {MAX_TRIALS} trials")
        return sweep

    def run(self, rounds: Sequence[Sequence[FaultKind]], reference: Sweep, team: Team) -> None:
        for number, kinds in enumerate(rounds):
            root = self._root / f"round-{number}"
            root.mkdir()
            copy_cache(reference.sandbox.home, root / "home")
            os.environ.pop("RNNEXP_STORAGE", None)
            if number % 2:
                os.environ["RNNEXP_STORAGE"] = team.postgres.new_database()
            self.log(f"round {number}: {len(kinds)} faults, {'PostgreSQL' if number % 2 else 'SQLite'}")
            sweep = RaySweep(Sandbox(root, root / "home"), team)
            round_ = RayRound(sweep, random.Random(f"{self._seed} {number}"), self.log, MAX_TRIALS)
            self._count(number, round_.run(kinds, reference), root)
            team.complete()

    def _count(self, number: int, result: Result, root: Path) -> None:
        for kind in result.done:
            self.n_injected[kind.name] += 1
            self.n_survived[kind.name] += not result.problems
        for kind in result.left:
            self.log(f"not injected, because the study ended too soon: {kind.name}")
        if result.problems:
            self.failed_rounds.append(number)
            self.log(f"round {number} of seed {self._seed} did not survive; its files are kept in {root}")
        else:
            shutil.rmtree(root)

    def table(self) -> str:
        """Returns the counts as text."""
        width = max(len(kind.name) for kind in RAY_KINDS)
        lines = [f"{'fault':<{width}}  times  survived"]
        lines += [
            f"{kind.name:<{width}}  {self.n_injected[kind.name]:>5}  {self.n_survived[kind.name]:>8}"
            for kind in RAY_KINDS
            if self.n_injected[kind.name]
        ]
        lines.append(f"{'all':<{width}}  {self.n_injected.total():>5}  {self.n_survived.total():>8}")
        return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the drill; returns 1 if a sweep did not survive."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.drill.on_ray", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faults", type=int, default=48, metavar="N", help="number of faults to inject (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed that selects faults, moments and trials")
    args = parser.parse_args(argv)
    if sys.platform != "linux":
        print("the drill needs /proc, which only Linux has; nothing was run")
        return 0
    root = Path(tempfile.mkdtemp(prefix="rnnexp-drill-"))
    drill = RayDrill(root, args.seed)
    reference = drill.run_reference()
    with running_postgres() as postgres:
        team = Team(root, postgres)
        try:
            drill.run(plan(args.faults, random.Random(args.seed)), reference, team)
        finally:
            team.close()
    print(drill.table())
    if drill.failed_rounds:
        print(f"seed {args.seed}: rounds that did not survive: {drill.failed_rounds}; files are kept in {root}")
        return 1
    shutil.rmtree(root)
    return 0


if __name__ == "__main__":
    sys.exit(main())
