"""Slots on other machines, as an executor: what they do comes home after every epoch, to the folders of the trials.

To the supervisor a trial in such a slot looks as if it ran on this machine: when it gets an event, the event and its
files are in the trial's folder. This module does not know the engine: `Nodes` is what it needs of one.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rnnexp.engine import trial_files
from rnnexp.engine.exchange import AttemptId, Batch, Command, Control, Gone, NoAnswer, Reply, StartAttempt
from rnnexp.engine.executor import End, Message, NotStarted, SlotLost, Unreachable
from rnnexp.errors import EngineLostError
from rnnexp.trial.answer import Answer
from rnnexp.trial.job import Place, TrialJob

_RETRY_S = 1.0
"""How long to wait before a slot that did not answer is asked again."""
_MAX_UNPLACED = 3
"""How often each slot may end before it has answered once, while none works; then the study ends."""
_COUNT_INTERVAL_S = 5.0
"""How often to ask the engine for how many slots there is room."""


class Slot(Protocol):
    """A slot on another machine."""

    def exchange(self, commands: tuple[Command, ...], confirmed: int) -> Any:
        """Starts a call of `SlotServer.exchange`; returns it for `Nodes.wait`."""
        ...

    def release(self) -> None:
        """Ends the slot and its processes, as soon as its machine can be reached."""
        ...


class Nodes(Protocol):
    """The machines of an engine."""

    def room(self) -> int:
        """Returns how many slots to ask for: those that the machines can hold, or as many as the user wants."""
        ...

    def new_slot(self) -> Slot:
        """Asks for a slot. Its first call is answered when it has been placed on a machine."""
        ...

    def share(self, store: Path) -> Any:
        """Makes a token store available to all machines; returns the reference for `StartAttempt`."""
        ...

    def wait(self, calls: Sequence[Any], timeout_s: float) -> list[tuple[Any, Reply | Gone | NoAnswer]]:
        """Waits until one of the calls has a reply; returns all replies that have arrived.

        Raises:
            EngineLostError: if the engine itself is lost.
        """
        ...

    def close(self) -> None:
        """Ends all slots."""
        ...


@dataclass
class _Slot:
    """What is known of a slot.

    Attributes:
        slot: the slot.
        calls: those without a reply, the newest last.
        commands: those that the slot has not confirmed.
        n_commands: how many commands it was given.
        confirmed: the sequence number of the last batch that was processed.
        is_placed: whether it has answered once.
        retry_at: when to ask it again, if it did not answer; None if it answers.
        attempt: that it runs; None while it is free.
        place: the files of the attempt's trial.
        private_bytes: of the attempt's process.
        n_failed_starts: how many attempts it could not start, one after another.
    """

    slot: Slot
    calls: list[Any] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    n_commands: int = 0
    confirmed: int = 0
    is_placed: bool = False
    retry_at: float | None = None
    attempt: AttemptId | None = None
    place: Place | None = None
    private_bytes: int | None = None
    n_failed_starts: int = 0

    @property
    def is_free(self) -> bool:
        return self.is_placed and self.retry_at is None and self.attempt is None


class RemoteExecutor:
    """An `Executor` whose slots are on the machines of an engine."""

    def __init__(self, nodes: Nodes, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Args:
        nodes: the machines.
        monotonic: the clock.
        """
        self._nodes, self._monotonic = nodes, monotonic
        self._slots: list[_Slot] = []
        self._count_at = float("-inf")
        self._n_unplaced = 0
        self._references: dict[Path, Any] = {}

    @property
    def n_slots(self) -> int:
        return sum(slot.is_free or slot.attempt is not None for slot in self._slots)

    def submit(self, job: TrialJob, place: Place) -> None:
        free = [slot for slot in self._slots if slot.is_free]
        if not free:
            raise OSError("no slot is free")
        slot = min(free, key=lambda slot: slot.n_failed_starts)
        if place.store not in self._references:
            self._references[place.store] = self._nodes.share(place.store)
        slot.attempt, slot.place, slot.private_bytes = AttemptId(job.number, job.attempt), place, None
        files = trial_files.read_state(place.folder)
        self._command(slot, StartAttempt(job, files, place.store, self._references[place.store]))

    def answer(self, number: int, answer: Answer) -> None:
        if slot := self._slot_of(number):
            self._command(slot, answer)

    def request_stop(self, number: int) -> None:
        if slot := self._slot_of(number):
            self._command(slot, Control.STOP)

    def kill(self, number: int) -> None:
        if slot := self._slot_of(number):
            self._command(slot, Control.KILL)
            if slot.retry_at is not None:
                slot.slot.release()

    def private_bytes(self, number: int) -> int | None:
        slot = self._slot_of(number)
        return None if slot is None else slot.private_bytes

    def close(self) -> None:
        self._nodes.close()
        self._slots.clear()

    def poll(self, timeout_s: float) -> list[Message]:
        self._ask_for_slots()
        for slot in self._slots:
            if not slot.calls and (slot.retry_at is None or self._monotonic() >= slot.retry_at):
                self._call(slot)
        owners = {call: slot for slot in self._slots for call in slot.calls}
        messages: list[Message] = []
        for call, reply in self._nodes.wait(list(owners), timeout_s):
            slot = owners[call]
            slot.calls.remove(call)
            if isinstance(reply, Reply):
                slot.is_placed, slot.retry_at = True, None
                slot.commands = [command for command in slot.commands if command.sequence > reply.last_command]
                for batch in reply.batches:
                    messages += self._process(slot, batch)
            elif isinstance(reply, Gone):
                self._slots = [each for each in self._slots if each is not slot]
                slot.slot.release()  # a slot that has failed may still have its place on the machine
                self._check_placement(slot, reply)
                if slot.attempt is not None:
                    messages.append((slot.attempt.number, SlotLost(reply.reason)))
                    slot.attempt = None
            else:
                slot.retry_at = self._monotonic() + _RETRY_S
                if slot.attempt is not None:
                    messages.append((slot.attempt.number, Unreachable()))
        return messages

    def _check_placement(self, slot: _Slot, gone: Gone) -> None:
        """Raises an error if one slot after another ends before it has answered once, and none works."""
        self._n_unplaced = 0 if slot.is_placed else self._n_unplaced + 1
        most = _MAX_UNPLACED * max(1, self._nodes.room())
        if self._n_unplaced >= most and not any(each.is_placed for each in self._slots):
            raise EngineLostError(f"no slot can be started: {gone.reason}")

    def _ask_for_slots(self) -> None:
        """Asks for as many slots as there is room for: machines may have come, and slots may have ended."""
        now = self._monotonic()
        if now - self._count_at >= _COUNT_INTERVAL_S:
            self._count_at = now
            while len(self._slots) < self._nodes.room():
                self._slots.append(_Slot(self._nodes.new_slot()))

    def _slot_of(self, number: int) -> _Slot | None:
        return next((slot for slot in self._slots if slot.attempt is not None and slot.attempt.number == number), None)

    def _command(self, slot: _Slot, action: StartAttempt | Answer | Control) -> None:
        assert slot.attempt is not None
        slot.n_commands += 1
        slot.commands.append(Command(slot.n_commands, slot.attempt, action))
        if slot.retry_at is None:
            self._call(slot)

    def _call(self, slot: _Slot) -> None:
        slot.calls.append(slot.slot.exchange(tuple(slot.commands), slot.confirmed))

    def _process(self, slot: _Slot, batch: Batch) -> list[Message]:
        """Writes what a slot has sent to the trial's folder; returns its messages. A batch is processed once."""
        if batch.sequence != slot.confirmed + 1:
            return []
        if batch.attempt != slot.attempt or slot.place is None:
            slot.confirmed = batch.sequence
            return []
        folder = slot.place.folder
        trial_files.write_returned(folder, batch.files)
        trial_files.append_log(folder, batch.log)
        trial_files.append_events(folder, batch.recorded)
        slot.confirmed, slot.private_bytes = batch.sequence, batch.private_bytes
        if isinstance(batch.messages[-1], End):
            slot.attempt = slot.place = None
            failed = isinstance(batch.messages[-1], NotStarted)
            slot.n_failed_starts = slot.n_failed_starts + 1 if failed else 0
        return [(batch.attempt.number, message) for message in batch.messages]
