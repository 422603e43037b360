"""A Ray cluster on this machine: a head without slots, and nodes that can be killed."""

import os
from collections.abc import Iterator
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
_STORE_BYTES = 2**28


class TestCluster:
    """A running cluster."""

    __test__ = False

    def __init__(self, cluster: Any) -> None:
        self._cluster = cluster
        self.nodes: list[Any] = []

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def add_node(self, cpus: int = 1) -> Any:
        """Adds a node and returns it."""
        self.nodes.append(self._cluster.add_node(num_cpus=cpus, object_store_memory=_STORE_BYTES))
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
def running_cluster(n_nodes: int) -> Iterator[TestCluster]:
    """Starts a cluster; ends it at the end of the block."""
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    os.environ.update(ENVIRONMENT)
    from ray._raylet import Config
    from ray.cluster_utils import Cluster

    Config.initialize("")  # Ray reads the environment at its import, which may have been earlier

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": _STORE_BYTES})
    running = TestCluster(cluster)
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
