"""The sender in virtual time: the real `Outbox` and `Projection`, run between the supervisor's steps."""

from collections.abc import Callable
from typing import Any

from tests.simulation.mlflow_fake import FakeServer
from tests.simulation.world import Generation

_RETRY_S = 5.0
_NEVER = float("inf")


class SimSender:
    """Sends at the same times as `SenderThread`: when it is notified, and some seconds after a failure."""

    def __init__(self, generation: Generation, server: FakeServer, outbox_of: Callable[..., Any], connect: Any) -> None:
        """Args:
        generation: the supervisor's lifetime.
        server: knows how long an MLflow call blocks the sender.
        outbox_of: the real `Outbox`.
        connect: passed to the `Outbox`.
        """
        self._generation, self._world, self._server = generation, generation.world, server
        self._outbox = outbox_of(connect, lambda line: self._world.log("sender", line))
        self._due_at = _NEVER
        self._is_sending = False
        generation.run_sender = self.run_when_due

    def notify(self, number: int) -> None:
        self._generation.step(f"notify {number}")
        self._outbox.add(number)
        self._due_at = self._world.now

    def run_when_due(self) -> None:
        """Sends if there are new events, or if a retry is due."""
        is_due = self._world.now >= max(self._due_at, self._server.busy_until)
        if not is_due or self._is_sending or not self._generation.alive:
            return
        self._is_sending = True
        self._due_at = _NEVER
        self._outbox.send()
        if self._outbox.failing:
            self._due_at = max(self._world.now, self._server.busy_until) + _RETRY_S
        self._is_sending = False

    def close(self, timeout_s: float) -> list[int]:
        self._generation.step("close the sender", "write")
        world, deadline = self._world, self._world.now + timeout_s
        self._due_at = world.now
        while True:
            self.run_when_due()
            is_late = world.now > deadline - _RETRY_S
            if self._outbox.is_empty or (self._outbox.failing and is_late) or world.now > deadline:
                break
            world.advance(world.now + 1.0)
            self._due_at = min(self._due_at, max(world.now, self._server.busy_until))
        unsent: list[int] = self._outbox.unsent
        return unsent
