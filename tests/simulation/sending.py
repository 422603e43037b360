"""The sender's thread in virtual time: the real `Outbox` and `Projection`, run between the supervisor's steps."""

from collections.abc import Callable
from typing import Any

from tests.simulation.mlflow_fake import FakeServer
from tests.simulation.world import Generation

_RETRY_S = 5.0
_NEVER = float("inf")


class SimSender:
    """Sends as `SenderThread` does: at news, and some seconds after a failure."""

    def __init__(self, generation: Generation, server: FakeServer, outbox_of: Callable[..., Any], connect: Any) -> None:
        """Args:
        generation: whose sender it is.
        server: tells until when a call keeps it waiting.
        outbox_of: the real `Outbox`.
        connect: what it is given to connect with.
        """
        self._generation, self._world, self._server = generation, generation.world, server
        self._outbox = outbox_of(connect, lambda line: self._world.say("sender", line))
        self._due = _NEVER
        self._sending = False
        generation.run_sender = self.run_when_due

    def notify(self, number: int) -> None:
        self._generation.step(f"notify {number}")
        self._outbox.add(number)
        self._due = self._world.now

    def run_when_due(self) -> None:
        """Sends, if there is news or it is time to try again."""
        if self._world.now < max(self._due, self._server.busy_until) or self._sending or not self._generation.alive:
            return
        self._sending = True
        self._due = _NEVER
        self._outbox.send()
        if self._outbox.failing:
            self._due = max(self._world.now, self._server.busy_until) + _RETRY_S
        self._sending = False

    def close(self, timeout_s: float) -> list[int]:
        self._generation.step("close the sender", "write")
        world, deadline = self._world, self._world.now + timeout_s
        self._due = world.now
        while True:
            self.run_when_due()
            late = world.now > deadline - _RETRY_S
            if self._outbox.is_empty or (self._outbox.failing and late) or world.now > deadline:
                break
            world.advance(world.now + 1.0)
            self._due = min(self._due, max(world.now, self._server.busy_until))
        unsent: list[int] = self._outbox.unsent
        return unsent
