"""A Ray cluster as the `Nodes` of `RemoteExecutor`. The process of `ray_bridge` is connected to it.

Ray places the slots, carries the calls, and reports which actors have ended. It restarts and retries nothing: the
supervisor's failure policy does.
"""

import contextlib
import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import Any

from rnnexp.engine import ray_bridge
from rnnexp.engine.exchange import Command, Gone, NoAnswer, Reply
from rnnexp.engine.ray_bridge import Answered, NewSlot, Refused, Release, Share
from rnnexp.errors import EngineLostError

_CLUSTER_TIMEOUT_S = 30.0
"""After so long without an answer the cluster counts as lost."""
_CLOSE_TIMEOUT_S = 5.0
_CONNECTION_LOST = "the connection to the Ray cluster is lost: its head has ended"


@dataclass(frozen=True)
class SlotNeeds:
    """What each slot needs of a node.

    Attributes:
        cpus: cores, and threads of its trials.
        gpus: GPUs, also a part of one.
        memory_gb: memory; None leaves it out of account.
    """

    cpus: int = 1
    gpus: float = 0.0
    memory_gb: float | None = None

    @property
    def memory_bytes(self) -> int | None:
        """The memory as Ray counts it."""
        return None if self.memory_gb is None else int(self.memory_gb * 2**30)

    def fitting(self, resources: dict[str, float]) -> int:
        """Returns how many slots a node with these resources, by Ray's names, can hold."""
        needed = {"CPU": float(self.cpus), "GPU": self.gpus, "memory": float(self.memory_bytes or 0)}
        return int(min(resources.get(name, 0.0) / amount for name, amount in needed.items() if amount))

    def __str__(self) -> str:
        memory = f", {self.memory_gb:g} GB of memory" if self.memory_gb is not None else ""
        return f"{self.cpus} CPU{f', {self.gpus:g} GPU' if self.gpus else ''}{memory}"


class RaySlotHandle:
    """One actor."""

    def __init__(self, nodes: "RayNodes", number: int) -> None:
        self._nodes, self._number = nodes, number

    def exchange(self, commands: tuple[Command, ...], confirmed: int) -> int:
        return self._nodes.call(self._number, commands, confirmed)

    def release(self) -> None:
        self._nodes.send(Release(self._number))


class RayNodes:
    """The nodes of a cluster."""

    def __init__(
        self,
        pipe: Any,
        process: Any,
        resources: Sequence[dict[str, float]],
        needs: SlotNeeds,
        wanted: int | None,
        useful: int,
    ) -> None:
        """Args:
        pipe: to the process of `ray_bridge`.
        process: that process.
        resources: of the living nodes, by Ray's names.
        needs: of each slot.
        wanted: how many slots to ask for, also if more nodes must join; None for as many as the present nodes can hold.
        useful: the number of trials; more slots than that are not asked for.
        """
        self._pipe, self._process, self._resources = pipe, process, list(resources)
        self._needs, self._wanted, self._useful = needs, wanted, useful
        self._answered_at = time.monotonic()
        self._replies: dict[int, Reply | Gone | NoAnswer] = {}
        self._calls, self._slots = itertools.count(1), itertools.count(1)

    def room(self) -> int:
        return min(self._useful, self.capacity() if self._wanted is None else self._wanted)

    def capacity(self) -> int:
        """Returns how many slots the present nodes can hold."""
        return sum(map(self._needs.fitting, self._resources))

    def largest(self) -> str:
        """Returns what the node with the most CPUs has."""
        most: dict[str, float] = max(self._resources, key=lambda resources: resources.get("CPU", 0.0), default={})
        gpus, memory = most.get("GPU", 0.0), most.get("memory", 0.0) / 2**30
        return f"{most.get('CPU', 0.0):g} CPU, {gpus:g} GPU, {memory:.1f} GB of memory"

    def n_nodes(self) -> int:
        """Returns the number of nodes."""
        return len(self._resources)

    def new_slot(self) -> RaySlotHandle:
        number = next(self._slots)
        self.send(NewSlot(number))
        return RaySlotHandle(self, number)

    def share(self, store: Path) -> str:
        self.send(Share(str(store), store))
        return str(store)

    def call(self, slot: int, commands: tuple[Command, ...], confirmed: int) -> int:
        """Starts a call of a slot's `exchange`; returns it for `wait`."""
        call = next(self._calls)
        self.send(ray_bridge.Exchange(call, slot, commands, confirmed))
        return call

    def send(self, request: Any) -> None:
        """Sends a request to the process; if it has ended, `wait` reports that."""
        with contextlib.suppress(OSError):
            self._pipe.send(request)

    def wait(self, calls: Sequence[int], timeout_s: float) -> list[tuple[int, Reply | Gone | NoAnswer]]:
        if not any(call in self._replies for call in calls):
            connection.wait([self._pipe, self._process.sentinel], timeout_s)
        has_ended = not self._process.is_alive()  # looked at before the pipe is read to its end
        self._receive()
        if has_ended:
            raise EngineLostError(_CONNECTION_LOST)
        silent_s = time.monotonic() - self._answered_at
        if silent_s > _CLUSTER_TIMEOUT_S:
            raise EngineLostError(f"the Ray cluster has not answered for {silent_s:.0f} s: its head is lost")
        return [(call, self._replies.pop(call)) for call in calls if call in self._replies]

    def _receive(self) -> None:
        try:
            while self._pipe.poll():
                message = self._pipe.recv()
                if isinstance(message, Answered):
                    self._replies[message.call] = message.reply
                elif isinstance(message, Refused):
                    raise EngineLostError(f"Ray does not work any more ({message.first_line})")
                else:
                    self._resources, self._answered_at = list(message.resources), time.monotonic()
        except (EOFError, OSError):
            raise EngineLostError(_CONNECTION_LOST) from None

    def close(self) -> None:
        self._pipe.close()  # the process then ends, and the cluster ends its slots
        self._process.join(_CLOSE_TIMEOUT_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
