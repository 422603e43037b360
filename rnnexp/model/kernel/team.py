"""Threads that share the work of a training step. Their number may change between two steps."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")


class Team:
    """Runs independent parts of a computation on a number of threads; the calling thread is one of them."""

    def __init__(self, size: int = 1) -> None:
        """Args:
        size: the number of threads.
        """
        self._size = 1
        self._helpers: ThreadPoolExecutor | None = None
        self.resize(size)

    @property
    def size(self) -> int:
        """The number of threads."""
        return self._size

    def resize(self, size: int) -> None:
        """Changes the number of threads. It must not be called while `run` is active."""
        if size == self._size:
            return
        if self._helpers is not None:
            self._helpers.shutdown()
        self._size = size
        self._helpers = ThreadPoolExecutor(size - 1) if size > 1 else None

    def run(self, call: Callable[[T], object], parts: Sequence[T]) -> None:
        """Calls a function once for each part, in any order, and returns when all calls have ended.

        The calls must not write to the same memory. An exception of a call is raised here.
        """
        if self._helpers is None or len(parts) == 1:
            for part in parts:
                call(part)
            return
        left = deque(parts)

        def work() -> None:
            while left:
                try:
                    part = left.popleft()
                except IndexError:  # another thread was faster
                    return
                call(part)

        helpers = [self._helpers.submit(work) for _ in range(min(self._size, len(parts)) - 1)]
        try:
            work()
        finally:
            wait(helpers)
        for helper in helpers:
            helper.result()


def ranges(total: int, count: int, multiple: int = 1) -> list[slice]:
    """Cuts the numbers from 0 to `total` into ranges of nearly equal size.

    Args:
        total: the end of the last range.
        count: the largest number of ranges; there is at least one, and none is empty unless `total` is 0.
        multiple: every range except the last one has a multiple of this size.
    """
    size = max(1, -(-total // (count * multiple))) * multiple
    return [slice(start, min(start + size, total)) for start in range(0, max(total, 1), size)]
