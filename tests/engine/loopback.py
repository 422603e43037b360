"""Machines of an engine in this process: slots are threads, and calls can get lost as on a network."""

import random
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rnnexp.engine.exchange import Command, Gone, NoAnswer, Reply
from rnnexp.engine.executor import Executor
from rnnexp.engine.node_cache import NodeCache, pack
from rnnexp.engine.slot_server import SlotClosedError, SlotServer

Call = Future[Reply | Gone | NoAnswer]


class LoopbackNodes:
    """As many slots as `n_slots`, which a test may change."""

    def __init__(
        self, root: Path, n_slots: int, make_executor: Callable[[int], Executor], network: "Network | None" = None
    ) -> None:
        self.root, self.n_slots, self.network = root, n_slots, network or Network()
        self.slots: list[LoopbackSlot] = []
        self._make_executor = make_executor
        self._pool = ThreadPoolExecutor(64)

    def room(self) -> int:
        return self.n_slots

    def new_slot(self) -> "LoopbackSlot":
        root = self.root / f"slot-{len(self.slots)}"
        server = SlotServer(root, NodeCache(self.root / "cache"), lambda content: content, self._make_executor)
        self.slots.append(LoopbackSlot(server, self._pool, self.network))
        return self.slots[-1]

    def share(self, store: Path) -> bytes:
        return pack(store)

    def wait(self, calls: Sequence[Call], timeout_s: float) -> list[tuple[Call, Reply | Gone | NoAnswer]]:
        if not calls:
            time.sleep(min(timeout_s, 0.01))
            return []
        done = futures.wait(calls, timeout_s, return_when=futures.FIRST_COMPLETED).done
        return [(call, call.result()) for call in calls if call in done]

    def close(self) -> None:
        for slot in self.slots:
            slot.lose()
        self._pool.shutdown()


class LoopbackSlot:
    """A slot in this process."""

    def __init__(self, server: SlotServer, pool: ThreadPoolExecutor, network: "Network") -> None:
        self._server, self._pool, self._network = server, pool, network
        self._is_lost = False

    def exchange(self, commands: tuple[Command, ...], confirmed: int) -> Call:
        return self._pool.submit(self._exchange, commands, confirmed)

    def _exchange(self, commands: tuple[Command, ...], confirmed: int) -> Reply | Gone | NoAnswer:
        try:
            return self._network.carry(lambda: self._server.exchange(commands, confirmed, 1.0))
        except SlotClosedError as error:
            return Gone("the node is lost" if self._is_lost else str(error))

    def lose(self) -> None:
        """Ends the slot as the loss of its machine does."""
        if not self._is_lost:
            self._is_lost = True
            self._server.close()

    def release(self) -> None:
        self.lose()


class Network:
    """Carries calls. By default all arrive."""

    def carry(self, call: Callable[[], Reply]) -> Reply | Gone | NoAnswer:
        return call()


class BadNetwork(Network):
    """Loses calls and replies, delivers them twice, late and in another order."""

    def __init__(self, seed: int, share: float = 0.3) -> None:
        self._rng, self._share = random.Random(seed), share
        self.earlier: list[Any] = []

    def carry(self, call: Callable[[], Reply]) -> Reply | Gone | NoAnswer:
        if self._rng.random() >= self._share:
            reply = call()
            self.earlier.append(reply)
            return reply
        what = self._rng.randrange(5)
        if what == 0:
            return NoAnswer()  # the call is lost
        if what == 1:
            call()
            return NoAnswer()  # the reply is lost
        if what == 2:
            call()  # delivered twice
        if what == 3:
            time.sleep(self._rng.random() * 0.05)
        return call()
