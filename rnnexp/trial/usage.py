"""What a trial's process uses of the machine: processor, memory, and the time to predict a text."""

import contextlib
import time
from collections.abc import Iterator

import psutil


class ResourceUsage:
    """Measures this process between two epochs."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._wall, self._cpu = time.monotonic(), self._cpu_s()
        self._ms_per_text: float | None = None

    @contextlib.contextmanager
    def of_texts(self, n_texts: int) -> Iterator[None]:
        """Measures the block as the prediction of so many texts."""
        start = time.monotonic()
        yield
        self._ms_per_text = 1000 * (time.monotonic() - start) / n_texts

    def since_last(self) -> dict[str, float]:
        """Returns what was used since the last call, or since the object was made.

        Returns:
            `cost/ms_per_text`, in batches, if texts were predicted; `system/cpu_utilization_percentage`, 100 for one
            core; `system/memory_usage_megabytes`, the resident set now.
        """
        wall, cpu = time.monotonic(), self._cpu_s()
        used = {
            "system/cpu_utilization_percentage": 100 * (cpu - self._cpu) / max(wall - self._wall, 1e-9),
            "system/memory_usage_megabytes": self._process.memory_info().rss / 2**20,
        }
        self._wall, self._cpu = wall, cpu
        costs = {} if self._ms_per_text is None else {"cost/ms_per_text": self._ms_per_text}
        return costs | used

    def _cpu_s(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)
