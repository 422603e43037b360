"""The faults of the drill on Ray: those of the local drill that apply, and of nodes, slots, networks and servers."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.servers import MLFLOW_PASSWORD, S3, USER, running_mlflow, running_s3
from tests.drill import processes
from tests.drill.fault_context import FaultContext, SweepEndedError
from tests.drill.faults import KINDS, FaultKind
from tests.drill.processes import Process
from tests.drill.rounds import FIRST_TRIALS
from tests.drill.sweeps import STUDY, SWEEP, NotSurvivedError, Sandbox, Sweep
from tests.network_node import MACHINE, Network, NetworkNode, network
from tests.postgres_server import PostgresServer, running_postgres
from tests.ray_cluster import STORE_BYTES, TestCluster, running_cluster

_N_NODES = 3
_DEAD_AFTER_S = 16.0
"""A node that does not answer counts as dead after about nine seconds (`tests/ray_cluster.py`)."""
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


@dataclass(frozen=True)
class Servers:
    """The servers of the rounds in PostgreSQL.

    Attributes:
        postgres: has Optuna's and MLflow's tables.
        s3: has MLflow's files.
        mlflow: the address of MLflow's server.
    """

    postgres: PostgresServer
    s3: S3
    mlflow: str


@contextmanager
def running_servers(root: Path) -> Iterator[Servers]:
    """Runs the servers until the end of the block."""
    root.mkdir()
    with running_postgres() as postgres, running_s3(root) as s3, running_mlflow(root, postgres, s3) as mlflow:
        os.environ |= {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": MLFLOW_PASSWORD}
        yield Servers(postgres, s3, mlflow)


class Team:
    """The cluster and the servers of the drill; the cluster can be started again.

    Attributes:
        nodes: the folder of the nodes' files.
        servers: of the rounds in PostgreSQL.
        network: of one node; None if this user may not create networks.
        cluster: the other nodes.
    """

    def __init__(self, root: Path, servers: Servers) -> None:
        self.nodes, self.servers = root / "nodes", servers
        os.environ["RNNEXP_NODE_DIR"] = str(self.nodes)
        self._log = root / "network-node.log"
        self._whole, self._of_cluster = ExitStack(), ExitStack()
        try:
            self.network: Network | None = self._whole.enter_context(network())
        except PermissionError as error:
            print(f"no network is cut: {error}", flush=True)
            self.network = None
        self._start()

    def _start(self) -> None:
        n_local = _N_NODES if self.network is None else _N_NODES - 1
        address = None if self.network is None else MACHINE
        self.cluster: TestCluster = self._of_cluster.enter_context(running_cluster(n_local, address))
        self._network_node: NetworkNode | None = None
        self.complete()

    def restart(self) -> None:
        """Ends what is left of the cluster, and starts a new one."""
        self._end_cluster()
        self._start()

    def _end_cluster(self) -> None:
        if self._network_node is not None:
            self._network_node.kill()
        self._of_cluster.close()
        self._of_cluster = ExitStack()

    def close(self) -> None:
        self._end_cluster()
        self._whole.close()

    def complete(self) -> None:
        """Adds the nodes that are missing."""
        while len(self.cluster.nodes) < (_N_NODES if self.network is None else _N_NODES - 1):
            self.cluster.add_node()
        if self.network is not None and (self._network_node is None or not self._network_node.runs):
            if self._network_node is not None:
                self._network_node.kill()
            self._network_node = NetworkNode(self.cluster.address, STORE_BYTES, self._log)

    @property
    def network_node(self) -> NetworkNode:
        """The node in the network of its own."""
        assert self._network_node is not None
        return self._network_node


class RaySweep(Sweep):
    """A sweep whose trials run on the cluster, one on each node."""

    def __init__(self, sandbox: Sandbox, team: Team) -> None:
        options = ("--engine", "ray", "--address", team.cluster.address, "--workers", str(_N_NODES))
        super().__init__(sandbox, SWEEP, STUDY, *options, "--trials", str(FIRST_TRIALS))
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


def move(process: Process) -> bool:
    """Kills the slot of a running trial, which then goes on in another one; returns False if it has just ended."""
    parents = {each.pid: each for each in processes.all_readable()}
    above: Process | None = process
    while above is not None and not above.command.startswith("ray::RaySlot"):
        above = parents.get(above.parent)
    return above is not None and processes.send_signal(above.pid, signal.SIGKILL)


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


def _network_of_running_trial(context: FaultContext) -> Network:
    """Waits until a trial runs on the node in the network of its own."""
    network = _team(context).network
    assert network is not None
    deadline = time.monotonic() + 60
    while not any(network.has(process.pid) for process in context.sweep.trial_processes):
        if not context.sweep.running or time.monotonic() > deadline:
            raise SweepEndedError
        time.sleep(0.1)
    return network


def _cut_network(context: FaultContext) -> None:
    """The network comes back before the node counts as dead: its trial goes on."""
    network = _network_of_running_trial(context)
    network.cut()
    context.sleep(1, 4)
    network.heal()


def _cut_network_until_dead(context: FaultContext) -> None:
    """The network comes back when the node's trial has moved; Ray ends the node then, with all that runs on it."""
    network, team = _network_of_running_trial(context), _team(context)
    network.cut()
    time.sleep(_DEAD_AFTER_S)
    network.heal()
    if not team.network_node.wait_until_ended(60):
        raise NotSurvivedError("the node that was given up did not end when its network came back")
    deadline = time.monotonic() + 30
    while left := [process for process in context.sweep.trial_processes if network.has(process.pid)]:
        if time.monotonic() > deadline:
            raise NotSurvivedError(f"still runs on the node that was given up: {left[0]}")
        time.sleep(0.2)
    team.complete()


def _stop_for_a_while(context: FaultContext, server: S3 | PostgresServer) -> None:
    context.wait_for_trial()
    server.stop()
    context.sleep(1, 8)
    server.start()


def _take_s3_away(context: FaultContext) -> None:
    _stop_for_a_while(context, _team(context).servers.s3)


def _restart_postgres(context: FaultContext) -> None:
    _stop_for_a_while(context, _team(context).servers.postgres)


RAY_KINDS: tuple[FaultKind, ...] = (
    *(kind for kind in KINDS if kind.name in _SAME_AS_LOCAL),
    FaultKind("Ray: node killed", _kill_node, 4),
    FaultKind("Ray: node frozen for a moment (SIGSTOP)", _freeze_node, 3),
    FaultKind("Ray: node frozen until it counts as dead, then back", _freeze_node_until_dead, 2),
    FaultKind("Ray: slot (actor) killed", _kill_slot, 4),
    FaultKind("Ray: forkserver of a slot killed", _kill_forkserver_of_slot, 2),
    FaultKind("Ray: head killed, a new cluster started", _restart_head, 1),
    FaultKind("Ray: object store full for a while", _fill_object_store, 1),
    FaultKind("Ray: network of a node cut for a moment", _cut_network, 3),
    FaultKind("Ray: network of a node cut until it counts as dead, then back", _cut_network_until_dead, 2),
    FaultKind("PostgreSQL: stopped, started later", _restart_postgres, 3),
    FaultKind("S3: away for a while", _take_s3_away, 2),
)
"""All kinds of fault."""


def needs_network(kind: FaultKind) -> bool:
    """Tells whether a kind cuts the network of a node."""
    return kind.inject in (_cut_network, _cut_network_until_dead)


def needs_servers(kind: FaultKind) -> bool:
    """Tells whether a kind is possible only in a round whose study is in PostgreSQL and whose files are in S3."""
    return kind.inject in (_restart_postgres, _take_s3_away)
