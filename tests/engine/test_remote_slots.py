"""Real trials in slots on other machines, without an engine between them: the contract of executors."""

from collections.abc import Iterator

import pytest

from rnnexp.engine.executor import Executor
from rnnexp.engine.local import LocalExecutor
from rnnexp.engine.remote import RemoteExecutor
from tests.engine.contract import ExecutorContract, home
from tests.engine.loopback import LoopbackNodes

__all__ = ["home"]  # a fixture

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def executor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
    nodes = LoopbackNodes(tmp_path_factory.mktemp("nodes"), 1, lambda wake: LocalExecutor(1, signals=wake))
    executor = RemoteExecutor(nodes)
    yield executor
    executor.close()


class TestRemoteSlots(ExecutorContract):
    """The contract, over the exchange with a slot in this process."""
