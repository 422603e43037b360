"""What `--engine ray` says when the cluster cannot be used: one line, before anything is written. Ray is not needed."""

import ast
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from rnnexp import cli
from rnnexp.engine import ray_slot
from rnnexp.engine.executor import Executor
from rnnexp.engine.ray_cluster import connect
from rnnexp.engine.ray_nodes import SlotNeeds
from rnnexp.errors import EngineLostError, UserError

pytestmark = pytest.mark.integration  # starts processes

SWEEP = "study: s\nbudget: {trials: 2}\nbase: {data: {name: reviews}}\nspace: {model.units: {int: [4, 8]}}\n"


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_worker_niceness"):
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)


@pytest.fixture
def listener() -> Iterator[str]:
    """The address of a server that accepts connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


RAY = """
import os, sys, types
from concurrent.futures import Future

def init(**options):
    options |= {"mode": os.environ.get("RAY_AUTH_MODE"), "n_token": len(os.environ.get("RAY_AUTH_TOKEN", ""))}
    print(options, file=open(OPTIONS, "w"))
    CONNECT

def nodes():
    return [{"Alive": True, "Resources": resources} for resources in NODES]

def shutdown():
    pass

class Actor:
    exchange = types.SimpleNamespace(remote=lambda *_: types.SimpleNamespace(future=Future))

def remote(**_):
    return lambda cls: types.SimpleNamespace(remote=lambda *_: Actor())
"""
"""Stands in for Ray in the process that connects."""


@pytest.fixture
def fake_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    def make(connect: str = "pass", nodes: Sequence[dict[str, float]] = ()) -> Path:
        options, folder = tmp_path / "options", tmp_path / "fake"
        folder.mkdir()
        text = RAY.replace("OPTIONS", repr(str(options))).replace("CONNECT", connect).replace("NODES", repr(nodes))
        (folder / "ray.py").write_text(text)
        monkeypatch.syspath_prepend(folder)
        monkeypatch.delitem(sys.modules, "ray", raising=False)
        return options

    return make


FakeRay = Callable[..., Path]


def refusal(address: str | None, needs: SlotNeeds | None = None) -> str:
    with pytest.raises(UserError) as error:
        connect(address, needs or SlotNeeds(), None, 4)
    assert error.value.exit_code == 2
    assert "\n" not in str(error.value)
    return str(error.value)


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # type: ignore[arg-type]
    assert "pip install 'rnnexp[ray]'" in refusal(None)


@pytest.mark.parametrize("address", ["here", "127.0.0.1", "ray://", ":6379", "host:port", ""])
def test_an_address_of_another_form(fake_ray: FakeRay, address: str) -> None:
    fake_ray()
    assert refusal(address).startswith(f"engine.address: got {address}, expected auto, HOST:PORT")


@pytest.mark.parametrize("prefix", ["", "ray://"])
def test_an_address_where_nothing_listens(fake_ray: FakeRay, prefix: str) -> None:
    fake_ray()
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"{prefix}127.0.0.1:{server.getsockname()[1]}"
    assert refusal(address).startswith(f"engine.address: nothing answers at {address} (Connection refused)")
    assert "nothing answers" in refusal(f"{prefix}127.0.0.1:99999999")


def test_a_cluster_of_another_version(fake_ray: FakeRay, listener: str) -> None:
    text = (
        "Version mismatch: The cluster was started with:\n    Ray: 2.50.0\n    Python: 3.12.1\n"
        "This process on 10.0.0.1 was started with:\n    Ray: 2.60.0\n    Python: 3.11.9\n"
    )
    fake_ray(f"raise RuntimeError({text!r})")
    expected = "the cluster has Ray: 2.50.0, Python: 3.12.1, and this process Ray: 2.60.0, Python: 3.11.9"
    assert expected in refusal(listener)


def test_a_wrong_token(fake_ray: FakeRay, listener: str) -> None:
    fake_ray("raise type('AuthenticationError', (Exception,), {})('InvalidAuthToken: secret-token\\nmore')")
    line = refusal(listener)
    assert "its token is missing or wrong; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN" in line
    assert "secret-token" not in line


def test_another_error_and_the_end_of_the_process(fake_ray: FakeRay, listener: str) -> None:
    options = fake_ray("raise ConnectionError('no route\\nmore lines')")
    assert refusal(listener) == f"engine.address: Ray {listener}: no route"
    file = options.parent / "fake" / "ray.py"
    file.write_text(file.read_text().replace("raise ConnectionError", "os._exit(3) or print"))
    assert "has ended with exit code 3" in refusal(listener)


def test_a_slot_that_no_node_can_hold(fake_ray: FakeRay, listener: str) -> None:
    fake_ray(nodes=[{"CPU": 2.0, "memory": 4.0 * 2**30}, {"CPU": 8.0, "GPU": 1.0, "memory": 1.0 * 2**30}])
    line = refusal(listener, SlotNeeds(cpus=4, gpus=0.5, memory_gb=2))
    assert line == (
        f"engine: a slot needs 4 CPU, 0.5 GPU, 2 GB of memory, and no node of Ray {listener} has that; the largest has "
        "8 CPU, 1 GPU, 1.0 GB of memory"
    )


def test_the_slots_that_the_nodes_can_hold_are_counted(fake_ray: FakeRay, listener: str) -> None:
    fake_ray(nodes=[{"CPU": 5.0, "GPU": 1.0}, {"CPU": 3.0, "GPU": 2.0}, {"CPU": 64.0}])

    def described(wanted: int | None, useful: int) -> str:
        engine = connect(listener, SlotNeeds(cpus=1, gpus=0.25), wanted, useful)
        assert engine.device == "GPU"
        engine.close()
        return engine.describe().partition(", 3 nodes, ")[2]

    assert described(None, 40) == "7 at once, 1 CPU, 0.25 GPU each"
    assert described(None, 3) == "3 at once, 1 CPU, 0.25 GPU each", "no more than there are trials"
    assert described(16, 40) == "16 at once, 1 CPU, 0.25 GPU each", "more nodes may join"


def test_a_ray_of_its_own_accepts_no_other_program(fake_ray: FakeRay) -> None:
    options = fake_ray(nodes=[{"CPU": 2.0}])
    connect(None, SlotNeeds(), None, 4).close()
    seen = ast.literal_eval(options.read_text())
    assert (seen["mode"], seen["n_token"]) == ("token", 64)
    assert "address" not in seen
    assert seen["include_dashboard"] is False


def test_a_node_with_another_version_says_so() -> None:
    program, python = ray_slot.versions()
    with pytest.raises(RuntimeError, match=rf"has rnnexp {program} with Python {python}, the supervisor's machine has"):
        ray_slot.RaySlot(1, ("0.0.1", python))


def poll_for(executor: Executor, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        executor.poll(0.5)


def test_the_end_of_the_connection_ends_the_study_with_one_line(fake_ray: FakeRay, listener: str) -> None:
    fake_ray(nodes=[{"CPU": 2.0}])
    engine = connect(listener, SlotNeeds(), None, 4)
    engine._nodes._process.kill()
    executor = engine.executor(0)
    with pytest.raises(EngineLostError, match="the connection to the Ray cluster is lost"):
        poll_for(executor, 20)
    engine.close()


def test_a_cluster_that_does_not_answer_any_more_counts_as_lost(
    fake_ray: FakeRay, listener: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_ray(nodes=[{"CPU": 2.0}])
    engine = connect(listener, SlotNeeds(), None, 4)
    executor = engine.executor(0)
    executor.poll(0.1)
    monkeypatch.setattr("rnnexp.engine.ray_nodes._CLUSTER_TIMEOUT_S", 0.2)
    os.kill(engine._nodes._process.pid, signal.SIGSTOP)
    with pytest.raises(EngineLostError, match="has not answered for"):
        poll_for(executor, 20)
    engine.close()


def test_the_command_writes_nothing_for_a_cluster_that_it_cannot_use(
    tmp_path: Path, fake_ray: FakeRay, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_ray()
    file, home = tmp_path / "s.yaml", tmp_path / "home"
    file.write_text(SWEEP)
    code = cli.main(["sweep", str(file), "--home", str(home), "--engine", "ray", "--address", "127.0.0.1:1"])
    assert code == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not home.exists()
