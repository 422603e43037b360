"""Slots on other machines in virtual time, with an unreliable network between them and the supervisor.

The executor and the slots are the real code (`rnnexp/engine/remote.py`, `slot_server.py`); the engine between them, the
machines and the trials' processes are simulated.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rnnexp.config.sweep import SweepConfig
from rnnexp.engine.exchange import Gone, NoAnswer
from rnnexp.engine.executor import Message, SlotLost
from rnnexp.trial import events
from rnnexp.trial.answer import Answer
from rnnexp.trial.job import Place, TrialJob
from tests.simulation.invariants import InvariantChecker
from tests.simulation.modules import Modules
from tests.simulation.sim_executor import Inbox, SimExecutor, advance_until
from tests.simulation.sim_process import Process
from tests.simulation.sim_storage import Append
from tests.simulation.world import Generation, Violation

_CALL_TIMEOUT_S = 5.0
_SLOT_WAITS_S = 10.0
_N_LOST_SLOTS = 3
"""So many slots that a trial loses without an epoch in between count as a crash."""


@dataclass(eq=False)
class Call:
    """A call of `exchange`; `reply` is None until it has arrived."""

    slot: "SimSlot"
    reply: Any = None
    is_reply_lost: bool = False

    def arrive(self, reply: Any) -> None:
        self.reply = reply


class NodeExecutor:
    """The executor of one slot: it starts the simulated process on its machine."""

    def __init__(self, slot: "SimSlot", append: Append) -> None:
        self.n_slots = 1
        self.process: Process | None = None
        self._slot, self._world, self._append = slot, slot.world, append
        self._inbox = Inbox(self._world)

    def submit(self, job: TrialJob, place: Place) -> None:
        others = [each for each in self._world.processes if each.number == job.number and not each.orphaned]
        if others:  # an exception here would be taken for one of the machine
            self._world.violation = f"trial {job.number} runs on two machines"
        if self._world.draw_fault("start on a node"):
            raise OSError("Resource temporarily unavailable")

        def deliver(message: Any, delay_s: float) -> None:
            self._inbox.add(job.number, message, delay_s)
            self._world.schedule(delay_s + 1e-6, self._slot.work)

        self.process = Process(self._world, job, place.folder, self._append, deliver)

    def poll(self, timeout_s: float) -> list[Message]:
        return self._inbox.take()

    def answer(self, number: int, answer: Answer) -> None:
        if self.process is not None:
            self._world.schedule(0.001, partial(self.process.answer, answer))

    def request_stop(self, number: int) -> None:
        if self.process is not None:
            self._world.schedule(0.001, self.process.request_stop)

    def kill(self, number: int) -> None:
        if self.process is not None:
            self.process.end(-9)

    def private_bytes(self, number: int) -> int | None:
        return self.process.n_bytes if self.process is not None else None

    def close(self) -> None:
        self.kill(0)


class SameFolder:
    """The token stores of a node that sees the supervisor's folders."""

    def get(self, store: Path, fetch: Callable[[], bytes]) -> Path:
        return store


class SimSlot:
    """A slot on a machine of its own, and the network to it."""

    def __init__(self, generation: Generation, number: int, append: Append, modules: Modules) -> None:
        self.world, self._generation = generation.world, generation
        rng, root = self.world.rng, self.world.home.root / "nodes" / f"{generation.number}-{number}"
        self.executor = NodeExecutor(self, append)
        self._worker = modules.slot_server.SlotWorker(
            root, SameFolder(), lambda reference: b"", self.executor, lambda: self.world.now
        )
        self._root, self._name = root, f"slot {number}"
        self._placed_at = self.world.now + rng.choice((0.1, 0.1, 3.0, 30.0))
        self._waiting: list[Call] = []
        self._cut_until = 0.0
        self._has_answered = False
        self.is_gone = False

    def exchange(self, commands: Sequence[Any], confirmed: int) -> Call:
        world, call = self.world, Call(self)
        kind = world.draw_fault("call")
        if kind == "call lost":
            world.schedule(_CALL_TIMEOUT_S, partial(call.arrive, NoAnswer()))
            return call
        delay_s = world.rng.uniform(0.5, 12) if kind == "call late" else world.rng.choice((0.001, 0.02))
        delay_s = max(delay_s, self._placed_at - world.now)
        call.is_reply_lost = kind == "reply lost"
        world.schedule(delay_s, partial(self._receive, call, tuple(commands), confirmed))
        if kind == "call doubled":
            again_s = delay_s + world.rng.uniform(0, 20)
            world.schedule(again_s, partial(self._receive, Call(self), tuple(commands), confirmed))
        return call

    def release(self) -> None:
        """Ends the slot when its machine can be reached."""
        self.world.schedule(max(0.0, self._cut_until - self.world.now), self.end)

    def end(self) -> None:
        """Ends the slot and its process."""
        if not self.is_gone:
            self.is_gone = True
            self.executor.close()
            shutil.rmtree(self._root, ignore_errors=True)
            for call in self._waiting:
                self._reply_gone(call)

    def _receive(self, call: Call, commands: tuple[Any, ...], confirmed: int) -> None:
        """A call arrives at the slot."""
        if not self._generation.alive:
            return
        self._inject_fault()
        if self.is_gone:
            self._reply_gone(call)
        elif self.world.now < self._cut_until:
            self.world.schedule(_CALL_TIMEOUT_S, partial(call.arrive, NoAnswer()))
        else:
            self._worker.accept(commands, confirmed)
            earlier, self._waiting = self._waiting, [call]
            for each in earlier:
                self._reply(each)
            self.work()
            wait_s = _SLOT_WAITS_S if self._has_answered else 0.0
            self._has_answered = True
            self.world.schedule(wait_s, partial(self._stop_waiting, call))

    def work(self) -> None:
        """Carries out the commands, and replies if there is something to report."""
        if self.is_gone or not self._generation.alive:
            return
        while command := self._worker.next_command():
            self._worker.add(self._worker.carry_out(command))
        self._worker.add(self._worker.poll(0.0))
        if self._worker.has_news and self.world.now >= self._cut_until:
            waiting, self._waiting = self._waiting, []
            for call in waiting:
                self._reply(call)

    def _stop_waiting(self, call: Call) -> None:
        if call in self._waiting:
            self._waiting.remove(call)
            self._reply(call)

    def _reply(self, call: Call) -> None:
        if call.is_reply_lost or self.world.now < self._cut_until:
            self.world.schedule(_CALL_TIMEOUT_S, partial(call.arrive, NoAnswer()))
        else:
            self.world.schedule(self.world.rng.choice((0.001, 0.02)), partial(call.arrive, self._worker.reply()))

    def _reply_gone(self, call: Call) -> None:
        self.world.schedule(self.world.rng.choice((0.01, 1.0, 30.0)), partial(call.arrive, Gone("its node is lost")))

    def _inject_fault(self) -> None:
        kind = None if self.is_gone else self.world.draw_fault("node")
        if kind is None:
            return
        self.world.log(self._name, kind)
        process = self.executor.process
        if kind == "node cut":
            self._cut_until = self.world.now + self.world.rng.uniform(2, 60)
        elif kind == "node lost":
            self.end()
        else:  # it is declared dead, and its process runs on for some time
            if process is not None and process.alive:
                process.become_orphan()
            self.is_gone = True
            for call in self._waiting:
                self._reply_gone(call)


class SimNodes:
    """The machines of an engine."""

    def __init__(self, generation: Generation, n_slots: int, append: Append, modules: Modules) -> None:
        self._generation, self._n_slots, self._append, self._modules = generation, n_slots, append, modules
        self._n_started = 0
        self.slots: list[SimSlot] = []
        self._unanswered: list[SimSlot] = []

    def room(self) -> int:
        return self._n_slots

    def new_slot(self) -> SimSlot:
        self._n_started += 1
        self.slots.append(SimSlot(self._generation, self._n_started, self._append, self._modules))
        return self.slots[-1]

    def share(self, store: Path) -> bytes:
        return b""

    def wait(self, calls: Sequence[Call], timeout_s: float) -> list[tuple[Call, Any]]:
        def next_arrival() -> float:
            return 0.0 if any(call.reply is not None for call in calls) else float("inf")

        advance_until(self._generation, timeout_s, next_arrival)
        self._unanswered += [call.slot for call in calls if isinstance(call.reply, NoAnswer)]
        return [(call, call.reply) for call in calls if call.reply is not None]

    def take_unanswered(self) -> list[SimSlot]:
        """Returns the slots that did not answer since the last call."""
        taken, self._unanswered = self._unanswered, []
        return taken

    def close(self) -> None:
        for slot in self.slots:
            slot.end()


class SimRemoteExecutor(SimExecutor):
    """The real executor of remote slots; the checks are those of `SimExecutor`."""

    def __init__(
        self,
        generation: Generation,
        n_slots: int,
        append: Append,
        checker: InvariantChecker,
        config: SweepConfig,
        modules: Modules,
    ) -> None:
        super().__init__(generation, n_slots, append, checker, config)
        self._nodes = SimNodes(generation, n_slots, append, modules)
        self._remote = modules.remote.RemoteExecutor(self._nodes, lambda: generation.world.now)
        self._lost: dict[int, tuple[int, int]] = {}

    @property
    def n_slots(self) -> int:
        n_slots: int = self._remote.n_slots
        return n_slots

    def _refuse(self, number: int) -> None:
        """A start is refused on the node, if at all."""

    def _begin(self, job: TrialJob, place: Place) -> None:
        self._remote.submit(job, place)

    def _wait(self, timeout_s: float) -> list[Message]:
        arrived: list[Message] = self._remote.poll(timeout_s)
        if self._world.violation:
            raise Violation(self._world.violation)
        for slot in self._nodes.take_unanswered():
            if slot.executor.process is not None:  # the time without an answer is no silence of the trial
                self._last_heartbeat[slot.executor.process.number] = self._world.now
        for number, message in arrived:
            if (process := self._process_of(number)) is not None:
                self._processes[number] = process
            if isinstance(message, SlotLost):
                self._count_lost_slot(number)
        return arrived

    def _process_of(self, number: int) -> Process | None:
        """Returns the process of the trial's last attempt, on a machine that is not lost; None without one."""
        processes = [slot.executor.process for slot in self._nodes.slots if not slot.is_gone]
        of_trial = [each for each in processes if each is not None and each.number == number]
        return max(of_trial, key=lambda process: process.attempt, default=None)

    def _count_lost_slot(self, number: int) -> None:
        """Each third slot that a trial loses without an epoch in between may use a retry."""
        n_epochs = len(events.epochs(events.read(self._world.folder.trial(number).events)))
        before, count = self._lost.get(number, (n_epochs, 0))
        count = count + 1 if before == n_epochs else 1
        self._lost[number] = n_epochs, count % _N_LOST_SLOTS
        if count == _N_LOST_SLOTS:
            self._world.causes[number].append("crash")

    def _deliver(self, number: int, answer: Answer) -> None:
        self._remote.answer(number, answer)

    def _request_stop(self, number: int) -> None:
        self._remote.request_stop(number)

    def _kill(self, number: int) -> None:
        self._remote.kill(number)

    def _check_stop(self, number: int) -> None:
        """A request takes its time on a bad network."""

    def private_bytes(self, number: int) -> int | None:
        self._generation.step(f"memory of {number}")
        n_bytes: int | None = self._remote.private_bytes(number)
        return n_bytes

    def close(self) -> None:
        if self._generation.alive:
            self._remote.close()
