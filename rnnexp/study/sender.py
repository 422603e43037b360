"""The thread that writes MLflow, so that no trial and no decision waits for it."""

import queue
import threading
import time
from collections.abc import Callable
from typing import Protocol

_RETRY_S = 5.0
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


class SenderThread:
    """Replays trials' events as it is told of them; what fails is tried again, in order."""

    def __init__(self, connect: Callable[[], Callable[[int], object]], log: Callable[[str], None]) -> None:
        """Args:
        connect: opens MLflow and returns what replays a trial; called in the thread, again after a failure.
        log: is given one line when MLflow is out of reach, and one when it is back.
        """
        self._connect = connect
        self._log = log
        self._queue: queue.Queue[int] = queue.Queue()
        self._unsent: dict[int, None] = {}
        self._refused: set[int] = set()
        self._deadline: float | None = None
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="mlflow-sender", daemon=True)
        self._thread.start()

    def notify(self, number: int) -> None:
        self._queue.put(number)

    def close(self, timeout_s: float) -> list[int]:
        self._deadline = time.monotonic() + timeout_s
        self._queue.put(_STOP)
        self._thread.join(timeout_s)
        left = set(self._unsent) | self._refused
        while not self._queue.empty():
            left.add(self._queue.get_nowait())
        return sorted(left - {_STOP})

    def _run(self) -> None:
        replay: Callable[[int], object] | None = None
        stopping = False
        while not (stopping and not self._unsent):
            stopping = self._collect(_RETRY_S if self._failing else None, stopping) or stopping
            try:
                replay = replay or self._connect()
                while self._unsent:
                    number = next(iter(self._unsent))
                    try:
                        replay(number)
                    except RefusedError as error:
                        self._log(f"trial {number}: MLflow refuses its record ({error}); the next start tries again")
                        self._refused.add(number)
                    del self._unsent[number]
                if self._failing:
                    self._log("MLflow is back; what it missed has been sent")
                self._failing = False
            except Exception as error:
                replay = None
                if not self._failing:
                    reason = " ".join(str(error).split())[:160]
                    self._log(f"MLflow cannot be written ({reason}); training goes on, the records are sent later")
                self._failing = True
                if stopping and self._deadline is not None and time.monotonic() > self._deadline - _RETRY_S:
                    return

    def _collect(self, patience_s: float | None, stopping: bool) -> bool:
        """Waits for news, then takes all there is; returns whether the end was asked for."""
        stop = False
        try:
            if stopping:
                time.sleep(min(patience_s or 0.0, 1.0))
            else:
                number = self._queue.get(timeout=patience_s)
                stop = number == _STOP
                if not stop:
                    self._unsent[number] = None
            while True:
                number = self._queue.get_nowait()
                stop = stop or number == _STOP
                if number != _STOP:
                    self._unsent[number] = None
        except queue.Empty:
            return stop
