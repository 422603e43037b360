"""The thread that writes MLflow, so that no trial and no decision waits for it."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Protocol

_RETRY_S = 5.0
_LAST_TRIES_S = 10.0
"""At the end MLflow has so long to come back; what it then lacks is sent by the next start."""
_STOP = -1


class RefusedError(Exception):
    """A trial's record that MLflow will not take however often it is sent; the others' are not held up."""


class Sender(Protocol):
    """What the supervisor needs of a tracker."""

    def notify(self, number: int) -> None:
        """Says that a trial's events have grown."""
        ...

    def close(self, timeout_s: float) -> list[int]:
        """Sends what is left, for at most so long; returns the trials with unsent events."""
        ...


class Outbox:
    """The trials whose events MLflow does not have yet. Waits for nothing: whoever owns it decides when to send."""

    def __init__(self, connect: Callable[[], Callable[[int], object]], log: Callable[[str], None]) -> None:
        """Args:
        connect: opens MLflow and returns what replays a trial; called again after a failure.
        log: is given one line when MLflow is out of reach, and one when it is back.
        """
        self._connect, self._log = connect, log
        self._replay: Callable[[int], object] | None = None
        self._waiting: dict[int, None] = {}
        self._refused: set[int] = set()
        self.failing = False

    def add(self, number: int) -> None:
        """Says that a trial's events have grown."""
        self._waiting[number] = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits; what was refused does not wait."""
        return not self._waiting

    @property
    def unsent(self) -> list[int]:
        """The trials with events that MLflow does not have."""
        return sorted(set(self._waiting) | self._refused)

    def send(self) -> None:
        """Sends what waits, the oldest first, until MLflow fails; what it refuses holds up nothing else."""
        try:
            while self._waiting:
                self._replay = self._replay or self._connect()
                number = next(iter(self._waiting))
                try:
                    self._replay(number)
                    self._refused.discard(number)
                except RefusedError as error:
                    self._log(f"trial {number}: MLflow refuses its record ({error}); the next start tries again")
                    self._refused.add(number)
                del self._waiting[number]
            if self.failing:
                self._log("MLflow is back; what it missed has been sent")
            self.failing = False
        except Exception as error:
            self._replay = None
            if not self.failing:
                reason = " ".join(str(error).split())[:160]
                self._log(f"MLflow cannot be written ({reason}); training goes on, the records are sent later")
            self.failing = True

    def open(self) -> None:
        """Opens MLflow; why it cannot be opened is said when there is something to send."""
        with contextlib.suppress(Exception):
            self._replay = self._connect()


class SenderThread:
    """Replays trials' events as it is told of them; what fails is tried again, in order."""

    def __init__(
        self, connect: Callable[[], Callable[[int], object]], log: Callable[[str], None], *, at_once: bool = False
    ) -> None:
        """Args:
        connect: opens MLflow and returns what replays a trial; called in the thread, again after a failure.
        log: is given one line when MLflow is out of reach, and one when it is back.
        at_once: open MLflow before there is anything to send: the first trials take a while to begin, and later its
            import would take a core from them.
        """
        self._outbox = Outbox(connect, log)
        self._at_once = at_once
        self._queue: queue.Queue[int] = queue.Queue()
        self._closing_since = 0.0
        self._deadline: float | None = None
        self._thread = threading.Thread(target=self._run, name="mlflow-sender", daemon=True)
        self._thread.start()

    def notify(self, number: int) -> None:
        self._queue.put(number)

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
            self._collect()
            self._outbox.send()
            if self._deadline is not None and self._queue.empty():
                late = time.monotonic() > min(self._deadline - _RETRY_S, self._closing_since + _LAST_TRIES_S)
                if self._outbox.is_empty or (self._outbox.failing and late):
                    return

    def _collect(self) -> None:
        """Waits for news, or for the time to try again; then takes all there is."""
        closing = self._deadline is not None
        patience_s = (1.0 if closing else _RETRY_S) if self._outbox.failing else (0.0 if closing else None)
        try:
            self._add(self._queue.get(timeout=patience_s) if patience_s != 0.0 else self._queue.get_nowait())
            while True:
                self._add(self._queue.get_nowait())
        except queue.Empty:
            return

    def _add(self, number: int) -> None:
        if number != _STOP:
            self._outbox.add(number)
