"""The thread that writes to MLflow, so that neither training nor the supervisor waits for MLflow."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Protocol

from rnnexp import addresses

_RETRY_S = 5.0
_CLOSING_RETRIES_S = 10.0
"""At the end of a sweep an unreachable MLflow is retried for this long; the next start sends what is left."""
_STOP = -1


class RefusedError(Exception):
    """MLflow rejects a trial's record, and repeating does not help. The records of other trials are still sent."""


class Sender(Protocol):
    """The part of a tracker that the supervisor uses."""

    def notify(self, number: int) -> None:
        """Tells the sender that a trial has new events."""
        ...

    def close(self, timeout_s: float) -> list[int]:
        """Sends what is left within the time limit; returns the trials with unsent events."""
        ...


class Outbox:
    """The trials with unsent events. It never waits: its owner decides when to send."""

    def __init__(self, connect: Callable[[], Callable[[int], object]], log: Callable[[str], None]) -> None:
        """Args:
        connect: opens MLflow and returns the function that replays a trial; called again after a failure.
        log: receives one line when MLflow becomes unreachable and one when it is reachable again.
        """
        self._connect, self._log = connect, log
        self._replay: Callable[[int], object] | None = None
        self._waiting: dict[int, None] = {}
        self._refused: set[int] = set()
        self.failing = False

    def add(self, number: int) -> None:
        """Adds a trial that has new events."""
        self._waiting[number] = None

    @property
    def is_empty(self) -> bool:
        """Whether no trial waits to be sent. A rejected record does not wait."""
        return not self._waiting

    @property
    def unsent(self) -> list[int]:
        """The trials with events that MLflow does not have."""
        return sorted(set(self._waiting) | self._refused)

    def send(self) -> None:
        """Sends the waiting trials, oldest first, until MLflow fails. A rejected record does not block the others."""
        try:
            while self._waiting:
                self._replay = self._replay or self._connect()
                number = next(iter(self._waiting))
                try:
                    self._replay(number)
                    self._refused.discard(number)
                except RefusedError as error:
                    self._log(f"trial {number}: MLflow rejects its record ({error}); the next start tries again")
                    self._refused.add(number)
                del self._waiting[number]
            if self.failing:
                self._log("MLflow is back; the missing records have been sent")
            self.failing = False
        except Exception as error:
            self._replay = None
            if not self.failing:
                reason = addresses.one_line(error, 240)
                self._log(f"MLflow cannot be written ({reason}); training continues, the records are sent later")
            self.failing = True

    def open(self) -> None:
        """Opens MLflow. An error is ignored here: the next `send` repeats the attempt and logs the error."""
        with contextlib.suppress(Exception):
            self._replay = self._connect()


class SenderThread:
    """Replays the events of the trials that it is notified of, in order; repeats what failed."""

    def __init__(
        self,
        connect: Callable[[], Callable[[int], object]],
        log: Callable[[str], None],
        *,
        open_immediately: bool = False,
    ) -> None:
        """Args:
        connect: opens MLflow and returns the function that replays a trial; called in the thread, again after a
            failure.
        log: receives one line when MLflow becomes unreachable and one when it is reachable again.
        open_immediately: open MLflow before there is something to send, while the first trials start. Later, its
            import would compete with them for a core.
        """
        self._log = log
        self._outbox = Outbox(connect, self._log_until_closed)
        self._at_once = open_immediately
        self._queue: queue.Queue[int] = queue.Queue()
        self._closing_since = 0.0
        self._deadline: float | None = None
        self._thread = threading.Thread(target=self._run, name="mlflow-sender", daemon=True)
        self._thread.start()

    def notify(self, number: int) -> None:
        self._queue.put(number)

    def _log_until_closed(self, line: str) -> None:
        """Passes a line on, except from a thread that was given up: the databases may be closed then."""
        if self._deadline is None or time.monotonic() < self._deadline:
            self._log(line)

    def close(self, timeout_s: float) -> list[int]:
        self._closing_since = time.monotonic()
        self._deadline = self._closing_since + timeout_s
        self._queue.put(_STOP)
        self._thread.join(timeout_s)
        left = set(self._outbox.unsent)
        while not self._queue.empty():
            left.add(self._queue.get_nowait())
        return sorted(left - {_STOP})

    def _run(self) -> None:
        if self._at_once:
            self._outbox.open()
        while True:
            self._receive()
            self._outbox.send()
            if self._deadline is not None and self._queue.empty():
                late = time.monotonic() > min(self._deadline - _RETRY_S, self._closing_since + _CLOSING_RETRIES_S)
                if self._outbox.is_empty or (self._outbox.failing and late):
                    return

    def _receive(self) -> None:
        """Waits for a notification or for the next retry; then takes all notifications from the queue."""
        closing = self._deadline is not None
        timeout_s = (1.0 if closing else _RETRY_S) if self._outbox.failing else (0.0 if closing else None)
        try:
            self._add(self._queue.get(timeout=timeout_s) if timeout_s != 0.0 else self._queue.get_nowait())
            while True:
                self._add(self._queue.get_nowait())
        except queue.Empty:
            return

    def _add(self, number: int) -> None:
        if number != _STOP:
            self._outbox.add(number)
