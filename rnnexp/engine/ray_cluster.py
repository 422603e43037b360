"""Connects to a Ray cluster, or starts a Ray of its own on this machine. Whatever is wrong is reported in one line."""

import importlib.util
import multiprocessing
import socket
from collections.abc import Callable

from rnnexp.engine import ray_bridge
from rnnexp.engine.executor import Executor
from rnnexp.engine.ray_bridge import Cluster, Refused
from rnnexp.engine.ray_nodes import RayNodes, SlotNeeds
from rnnexp.engine.remote import RemoteExecutor
from rnnexp.errors import UserError

_LISTENER_TIMEOUT_S, _CONNECT_TIMEOUT_S = 5.0, 90.0


class RayEngine:
    """A connected cluster."""

    def __init__(self, nodes: RayNodes, needs: SlotNeeds, address: str, connect_again: Callable[[], RayNodes]) -> None:
        """Args:
        nodes: of the cluster.
        needs: what each slot needs.
        address: of the cluster, to show.
        connect_again: connects to the cluster once more. Slots end with their connection.
        """
        self._nodes, self._needs, self._address = nodes, needs, address
        self._connect_again = connect_again
        self._is_used = False

    @property
    def device(self) -> str:
        return "GPU" if self._needs.gpus else "CPU"

    @property
    def n_fitting(self) -> int | None:
        return None

    def describe(self) -> str:
        n_nodes = self._nodes.n_nodes()
        nodes = "1 node" if n_nodes == 1 else f"{n_nodes} nodes"
        return f"Ray {self._address}, {nodes}, {self._nodes.room()} at once, {self._needs} each"

    def executor(self, signals: int) -> Executor:
        if self._is_used:  # the executor before has closed the connection
            self._nodes = self._connect_again()
        self._is_used = True
        return RemoteExecutor(self._nodes)

    def close(self) -> None:
        """Ends all slots and the connection; and a Ray of its own."""
        self._nodes.close()


def connect(address: str | None, needs: SlotNeeds, wanted: int | None, useful: int) -> RayEngine:
    """Connects to a cluster.

    Args:
        address: `auto`, HOST:PORT or ray://HOST:PORT; None starts a Ray of its own on this machine.
        needs: what each slot needs of a node.
        wanted, useful: how many slots to ask for; see `RayNodes`.

    Raises:
        UserError: if Ray is not installed, the cluster cannot be reached, refuses this process, has another version, or
            has no node that is large enough.
    """
    if importlib.util.find_spec("ray") is None:
        raise UserError(
            "engine ray: Ray is not installed; install it with `pip install 'rnnexp[ray]'`, or leave out --engine"
        )
    shown = address or "on this machine"
    _check_listener(address)

    def start() -> RayNodes:
        cluster = Cluster(address, needs.cpus, needs.gpus, needs.memory_bytes)
        return _start(cluster, needs, wanted, useful, shown)

    nodes = start()
    if not nodes.capacity():
        largest = nodes.largest()
        nodes.close()
        raise UserError(f"engine: a slot needs {needs}, and no node of Ray {shown} has that; the largest has {largest}")
    return RayEngine(nodes, needs, shown, start)


def _start(cluster: Cluster, needs: SlotNeeds, wanted: int | None, useful: int, shown: str) -> RayNodes:
    """Starts the process that is connected to the cluster, and waits for its first message."""
    context = multiprocessing.get_context("spawn")
    pipe, child_pipe = context.Pipe()
    process = context.Process(target=ray_bridge.main, args=(child_pipe, cluster), name="ray", daemon=True)
    process.start()
    child_pipe.close()
    try:
        first = pipe.recv() if pipe.poll(_CONNECT_TIMEOUT_S) else Refused("", "it does not answer")
    except (EOFError, OSError):
        process.join(_LISTENER_TIMEOUT_S)
        first = Refused("", f"the process that connects to it has ended with exit code {process.exitcode}")
    if isinstance(first, Refused):
        process.kill()
        process.join()
        pipe.close()
        raise UserError(f"engine.address: Ray {shown}: {_advice(first)}")
    return RayNodes(pipe, process, first.resources, needs, wanted, useful)


def _check_listener(address: str | None) -> None:
    """Raises an error if nothing listens at the address: Ray itself would wait for long."""
    if address is None or address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise UserError(f"engine.address: got {address}, expected auto, HOST:PORT or ray://HOST:PORT")
    try:
        socket.create_connection((host, int(port)), _LISTENER_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"engine.address: nothing answers at {address} ({reason}); start the cluster with `ray start --head`, or "
            "correct the address"
        ) from None


def _advice(refused: Refused) -> str:
    """Returns why the connection is impossible and what to do, in one line."""
    if "Version mismatch" in refused.text:
        lines = [line.strip() for line in refused.text.splitlines()]
        versions = [line for line in lines if line.startswith(("Ray:", "Python:"))]
        here, there = ", ".join(versions[2:]), ", ".join(versions[:2])
        return f"the cluster has {there}, and this process {here}; both must be the same"
    if "auth" in refused.kinds.lower() or "authentication" in refused.text.lower():
        return (
            "it refuses this process, because its token is missing or wrong; set RAY_AUTH_MODE=token and "
            "RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, as on the cluster"
        )
    return refused.first_line
