"""Slots of a real Ray cluster: the contract of executors, and what the loss of a node means."""

from collections.abc import Iterator

import pytest

pytest.importorskip("ray", reason="needs the extra `ray`")

from rnnexp.engine.executor import Executor, SlotLost
from rnnexp.engine.ray_cluster import connect
from rnnexp.engine.ray_nodes import SlotNeeds
from rnnexp.errors import UserError
from rnnexp.home import Home
from rnnexp.trial.events import EpochEnded, Started
from tests.engine.contract import (
    ENDLESS,
    ExecutorContract,
    arrays,
    home,
    is_gone,
    job,
    of_kind,
    run,
    until,
    wait_for_slot,
)
from tests.ray_cluster import TestCluster, running_cluster

__all__ = ["home"]  # a fixture

pytestmark = [pytest.mark.tensorflow, pytest.mark.integration]


@pytest.fixture(scope="module")
def cluster() -> Iterator[TestCluster]:
    with running_cluster(1) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def executor(cluster: TestCluster) -> Iterator[Executor]:
    executor = connect(cluster.address, SlotNeeds(), 1, 1).executor(0)
    yield executor
    executor.close()


class TestRayExecutor(ExecutorContract):
    """The contract, on a node of a cluster."""

    def test_a_lost_node_moves_a_trial_to_another_one_with_the_same_result(
        self, executor: Executor, cluster: TestCluster, home: Home
    ) -> None:
        wait_for_slot(executor)
        executor.submit(*job(home, 20))
        epochs = of_kind(until(executor, EpochEnded), EpochEnded)
        cluster.kill_node(cluster.nodes[0])
        cluster.add_node()
        (_, lost) = until(executor, SlotLost)[-1]
        assert isinstance(lost, SlotLost)
        assert "is lost" in lost.reason or "has ended" in lost.reason
        resumed = run(executor, job(home, 20, attempt=2))
        (started,) = of_kind(resumed, Started)
        assert isinstance(started, Started)
        assert started.from_epoch == len(epochs) == 1
        run(executor, job(home, 21))
        whole, moved = (arrays(home.study("engine").trial(number)) for number in (21, 20))
        assert all((whole[name] == moved[name]).all() for name in whole)

    def test_the_processes_of_a_slot_end_with_it(self, executor: Executor, cluster: TestCluster, home: Home) -> None:
        wait_for_slot(executor)
        executor.submit(*job(home, 22, **ENDLESS))
        (started,) = of_kind(until(executor, Started), Started)
        assert isinstance(started, Started)
        cluster.kill_node(cluster.nodes[0])
        cluster.add_node()
        until(executor, SlotLost)
        assert is_gone(started.pid)

    def test_a_node_that_comes_back_after_it_was_given_up_keeps_no_process(
        self, executor: Executor, cluster: TestCluster, home: Home
    ) -> None:
        wait_for_slot(executor)
        executor.submit(*job(home, 23, **ENDLESS))
        (started,) = of_kind(until(executor, Started), Started)
        assert isinstance(started, Started)
        (node,) = cluster.nodes
        with cluster.frozen(node):
            (_, lost) = until(executor, SlotLost)[-1]
        assert isinstance(lost, SlotLost)
        cluster.forget(node)
        cluster.add_node()
        assert is_gone(started.pid)

    # Last, because it closes the executor; a subclass' tests come after those of its base class.
    test_close_ends_the_trials = None

    def test_close(self, executor: Executor, home: Home) -> None:
        ExecutorContract.test_close_ends_the_trials(self, executor, home)


def test_a_slot_that_no_node_can_hold_is_refused(cluster: TestCluster) -> None:
    with pytest.raises(UserError, match=r"a slot needs 64 CPU, and no node of Ray .* has that; the largest has 1 CPU"):
        connect(cluster.address, SlotNeeds(cpus=64), None, 1)


def test_a_wrong_address_is_refused_at_once() -> None:
    with pytest.raises(UserError, match=r"nothing answers at 127.0.0.1:9 .*ray start"):
        connect("127.0.0.1:9", SlotNeeds(), None, 1)
    with pytest.raises(UserError, match="got here, expected auto, HOST:PORT or ray://HOST:PORT"):
        connect("here", SlotNeeds(), None, 1)
