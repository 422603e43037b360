"""A Ray cluster on this machine: a head without slots, and nodes that can be killed."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import psutil

TOKEN = "token-of-the-test-cluster-0123456789"
ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": TOKEN,
    "RAY_worker_niceness": "0",
    # A node that does not answer counts as dead after seconds, not after a minute.
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}
STORE_BYTES = 2**28
"""Size of each node's object store."""


class TestCluster:
    """A running cluster.

    Attributes:
        nodes: the nodes on this machine's own network, without the head.
    """

    __test__ = False

    def __init__(self, cluster: Any, node_arguments: Mapping[str, Any]) -> None:
        self._cluster, self._node_arguments = cluster, node_arguments
        self.nodes: list[Any] = []

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def add_node(self, cpus: int = 1) -> Any:
        """Adds a node and returns it."""
        self.nodes.append(self._cluster.add_node(num_cpus=cpus, **self._node_arguments))
        return self.nodes[-1]

    def kill_node(self, node: Any) -> None:
        """Kills all processes of a node."""
        self.nodes.remove(node)
        self._cluster.remove_node(node, allow_graceful=False)

    @contextmanager
    def frozen(self, node: Any) -> Iterator[None]:
        """Stops all processes of a node until the end of the block."""
        raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
        stopped = [raylet, *raylet.children(recursive=True)]
        for process in stopped:
            process.suspend()
        try:
            yield
        finally:
            for process in stopped:
                with suppress(psutil.Error):
                    process.resume()

    def forget(self, node: Any) -> None:
        """Leaves a node alone that Ray has given up."""
        self.nodes.remove(node)

    def kill_head(self) -> None:
        """Kills all processes of the head."""
        self._cluster.head_node.kill_all_processes(check_alive=False, allow_graceful=False)


@contextmanager
def running_cluster(n_nodes: int, node_ip: str | None = None) -> Iterator[TestCluster]:
    """Starts a cluster; ends it at the end of the block.

    Args:
        n_nodes: the number of nodes beside the head.
        node_ip: the address of this machine in the cluster; None leaves it to Ray.
    """
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    os.environ.update(ENVIRONMENT)
    from ray._raylet import Config
    from ray.cluster_utils import Cluster

    Config.initialize("")  # Ray reads the environment at its import, which may have been earlier

    arguments: dict[str, Any] = {"object_store_memory": STORE_BYTES}
    if node_ip is not None:
        arguments["node_ip_address"] = node_ip
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **arguments})
    running = TestCluster(cluster, arguments)
    try:
        for _ in range(n_nodes):
            running.add_node()
        yield running
    finally:
        cluster.shutdown()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
