"""Slots on other machines, without an engine: the exchange, what comes home, and what a lost slot means."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from rnnexp.engine import remote
from rnnexp.engine.exchange import Command, Gone, NoAnswer, Reply
from rnnexp.engine.remote import RemoteExecutor
from rnnexp.errors import EngineLostError
from rnnexp.trial import events
from rnnexp.trial.events import AttemptEnded, Started
from rnnexp.trial.states import State
from tests.engine.loopback import BadNetwork, Call, LoopbackNodes, Network
from tests.study.fakes import FakeExecutor
from tests.study.small_study import Study

pytestmark = pytest.mark.integration  # starts processes, or runs several studies


@pytest.fixture(autouse=True)
def short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_RETRY_S", 0.02)
    monkeypatch.setattr(remote, "_COUNT_INTERVAL_S", 0.05)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    study = Study(tmp_path)
    store = tmp_path / "store-1"
    store.mkdir()
    study.prepare = lambda config: store
    return study


class SlowExecutor(FakeExecutor):
    """A slot of a node: each epoch takes a moment, so that a machine can be lost in it."""

    def poll(self, timeout_s: float) -> list[Any]:
        time.sleep(0.002)
        return super().poll(timeout_s)


MakeNodes = Callable[..., LoopbackNodes]


@pytest.fixture
def make_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeNodes]:
    monkeypatch.setattr("rnnexp.engine.node_cache.is_valid", lambda root: root.is_dir())
    made: list[LoopbackNodes] = []

    def make(n_slots: int = 2, network: Network | None = None, **attributes: Any) -> LoopbackNodes:
        def executor(wake: int) -> FakeExecutor:
            inner = SlowExecutor(n_slots=1)
            for name, value in attributes.items():
                setattr(inner, name, value)
            return inner

        made.append(LoopbackNodes(tmp_path / "nodes", n_slots, executor, network))
        return made[-1]

    yield make
    for nodes in made:
        nodes.close()


def run(study: Study, nodes: LoopbackNodes, **settings: Any) -> None:
    executor = RemoteExecutor(nodes)
    study.run(executor, **settings)  # type: ignore[arg-type]


def curves(study: Study) -> list[list[int]]:
    folder = study.home.study("s")
    return [[epoch.epoch for epoch in events.epochs(events.read(folder.trial(n).events))] for n in folder.numbers()]


def test_a_trial_leaves_the_same_files_as_on_this_machine(tmp_path: Path, make_nodes: MakeNodes) -> None:
    files, values = [], []
    for name in ("here", "elsewhere"):
        study = Study(tmp_path / name)
        store = tmp_path / "store-1"
        store.mkdir(exist_ok=True)
        study.prepare = lambda config: store  # noqa: B023
        if name == "here":
            study.run(FakeExecutor())
        else:
            run(study, make_nodes())
        root = study.home.study("s").trials
        files.append(sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()))
        values.append([(row.settings, row.value, row.state) for row in study.view.trials])
    assert files[0] == files[1]
    assert values[0] == values[1]
    assert not list((tmp_path / "nodes").glob("slot-*")), "nothing stays on a node"


@pytest.mark.parametrize("seed", range(5))
def test_a_network_that_loses_doubles_and_delays_calls_changes_no_result(
    study: Study, make_nodes: MakeNodes, seed: int
) -> None:
    run(study, make_nodes(network=BadNetwork(seed)))
    assert study.states() == [State.COMPLETE] * 4
    assert [row.attempts for row in study.view.trials] == [1] * 4
    assert curves(study) == [[1, 2, 3]] * 4
    for number in range(4):
        events_of_trial = events.read(study.home.study("s").trial(number).events)
        assert sum(isinstance(event, Started) for event in events_of_trial) == 1


def test_a_lost_slot_costs_a_trial_no_retry_and_it_resumes_in_another_slot(study: Study, make_nodes: MakeNodes) -> None:
    nodes = make_nodes(n_slots=1)
    lost = []

    def lose(number: int, epoch: int) -> None:
        if (number, epoch) == (1, 2) and not lost:
            lost.append(number)
            nodes.slots[-1].lose()

    study.reporter.epoch_ended = lambda number, event: lose(number, event.epoch)  # type: ignore[method-assign]
    run(study, nodes, limits__retries=0)
    assert lost == [1]
    assert study.states() == [State.COMPLETE] * 4
    assert curves(study) == [[1, 2, 3]] * 4
    record = events.read(study.home.study("s").trial(1).events)
    assert [event.from_epoch for event in record if isinstance(event, Started)] == [0, 2]
    (interruption,) = (event for event in record if isinstance(event, AttemptEnded) and event.state == State.WAITING)
    assert interruption.reason == "the node is lost"


def test_a_trial_that_loses_three_slots_without_an_epoch_uses_a_retry(study: Study, make_nodes: MakeNodes) -> None:
    nodes = make_nodes(n_slots=1)
    started = study.reporter.started

    def lose(number: int, *rest: Any) -> None:
        if number == 0:
            nodes.slots[-1].lose()
        started(number, *rest)

    study.reporter.started = lose  # type: ignore[method-assign]
    run(study, nodes, limits__retries=1)
    assert study.states() == [State.FAIL] + [State.COMPLETE] * 3
    row = study.view.trials[0]
    assert row.attempts == 6
    assert row.reason == "the node is lost, 3 times without an epoch in between, 2 times"


class SilentNetwork(Network):
    """A network that carries nothing for a while, once a trial runs: the machine hangs and is then lost."""

    def __init__(self) -> None:
        self.silent_until = 0.0

    def carry(self, call: Callable[[], Reply]) -> Reply | Gone | NoAnswer:
        time.sleep(max(0.0, self.silent_until - time.monotonic()))
        return call()


def test_a_trial_that_was_silent_because_its_machine_was_lost_uses_no_retry(
    study: Study, make_nodes: MakeNodes
) -> None:
    network = SilentNetwork()
    nodes = make_nodes(n_slots=1, network=network, endless={1})
    started = study.reporter.started

    def hang(number: int, *rest: Any) -> None:
        if number == 1 and not network.silent_until:
            network.silent_until = time.monotonic() + 1.5
            threading.Timer(1.0, nodes.slots[-1].lose).start()
            nodes._make_executor = lambda wake: SlowExecutor(n_slots=1)
        started(number, *rest)

    study.reporter.started = hang  # type: ignore[method-assign]
    run(study, nodes, limits__retries=0, limits__silence_s=0.4)
    assert study.states() == [State.COMPLETE] * 4
    assert study.view.trials[1].attempts == 2


def test_the_loss_of_the_engine_ends_the_study_in_order_and_it_resumes(study: Study, make_nodes: MakeNodes) -> None:
    nodes = make_nodes()
    wait = nodes.wait

    def lose(*arguments: Any) -> Any:
        if curves(study) and max(map(len, curves(study))) >= 2:
            raise EngineLostError("the cluster is lost")
        return wait(*arguments)

    nodes.wait = lose  # type: ignore[method-assign]
    outcome = study.run(RemoteExecutor(nodes))  # type: ignore[arg-type]
    assert outcome.halt_reason == "the cluster is lost; run the same command to resume when it works again"
    assert set(study.states()) == {State.WAITING}
    run(study, make_nodes(), limits__retries=0)
    assert study.states() == [State.COMPLETE] * 4
    assert curves(study) == [[1, 2, 3]] * 4


def test_slots_come_and_go_with_their_machines(study: Study, make_nodes: MakeNodes) -> None:
    nodes = make_nodes(n_slots=0)
    executor = RemoteExecutor(nodes)
    assert executor.poll(0.01) == []
    assert executor.n_slots == 0
    nodes.n_slots = 3
    deadline = time.monotonic() + 5
    while executor.n_slots < 3 and time.monotonic() < deadline:
        executor.poll(0.01)
    assert executor.n_slots == 3
    nodes.slots[0].lose()
    nodes.n_slots = 2
    while executor.n_slots > 2 and time.monotonic() < deadline:
        executor.poll(0.01)
    assert executor.n_slots == 2


class BrokenSlot:
    """A slot whose process cannot start, for example because a node has another version of the program."""

    def exchange(self, commands: tuple[Command, ...], confirmed: int) -> Call:
        call: Call = Future()
        call.set_result(Gone("its slot cannot start (node has rnnexp 0.9)"))
        return call

    def release(self) -> None:
        pass


def test_slots_that_never_start_end_the_study(study: Study, make_nodes: MakeNodes) -> None:
    nodes = make_nodes()
    nodes.new_slot = BrokenSlot  # type: ignore[method-assign, assignment]
    outcome = study.run(RemoteExecutor(nodes))  # type: ignore[arg-type]
    assert outcome.halt_reason.startswith("no slot can be started: its slot cannot start (node has rnnexp 0.9)")
    assert study.states() == []


def test_a_slot_that_never_starts_does_no_harm_beside_one_that_works(study: Study, make_nodes: MakeNodes) -> None:
    nodes = make_nodes()
    new_slot, made = nodes.new_slot, []

    def every_second() -> Any:
        made.append(1)
        return new_slot() if len(made) == 1 else BrokenSlot()

    nodes.new_slot = every_second  # type: ignore[method-assign]
    run(study, nodes)
    assert study.states() == [State.COMPLETE] * 4
    assert len(made) > 4


def test_a_slot_that_cannot_start_a_trial_is_no_fault_of_the_trial(study: Study, make_nodes: MakeNodes) -> None:
    run(study, make_nodes(n_slots=1, refuses={0: 1}), limits__retries=0)
    assert study.states() == [State.COMPLETE] * 4
    waits = [reason for number, state, reason in study.reporter.ends if state is State.WAITING]
    assert waits == ["its process could not be started (BlockingIOError: [Errno 11] Resource temporarily unavailable)"]
