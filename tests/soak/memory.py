"""The growth of the supervisor's memory, compared with what its list of trials needs."""

import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from rnnexp.home import Home
from tests.soak.watch import Sample

_WINDOW = 5
"""Each end of a comparison is the median of so many samples."""
_SLACK_BYTES = 16 * 2**20
"""Memory that the allocator and the databases' page caches may take or free between two samples."""
_FACTOR = 1.5
"""The supervisor's own values of a trial, beside Optuna's."""
_MORE_FDS = 2

_LIST_TRIALS = """
import sys
import optuna, psutil
from rnnexp.home import Home
from rnnexp.storage import database
home, study = Home.at(sys.argv[1]), sys.argv[2]
loaded = database.load_study(home, study)
before = psutil.Process().memory_full_info().uss
trials = loaded.get_trials(deepcopy=False)
print((psutil.Process().memory_full_info().uss - before) / max(1, len(trials)))
"""


def bytes_per_listed_trial(home: Home, study: str) -> float:
    """Returns the memory of a trial in Optuna's list of trials, measured in a new process."""
    command = [sys.executable, "-c", _LIST_TRIALS, str(home.root), study]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@dataclass(frozen=True)
class Growth:
    """The change between two moments of a study.

    Attributes:
        first_trial, last_trial: number of trials at the two moments.
        first_bytes, last_bytes: memory.
        first_fds, last_fds: open file descriptors.
    """

    first_trial: int
    last_trial: int
    first_bytes: float
    last_bytes: float
    first_fds: int
    last_fds: int

    @classmethod
    def between(cls, samples: Sequence[Sample], start: int) -> "Growth":
        """Compares the samples after trial `start` with the last ones before the last trial started.

        What follows is the end of the sweep, which loads the libraries of the report and of the export.

        Raises:
            ValueError: if there are too few samples.
        """
        n_all = max((sample.n_trials for sample in samples), default=0)
        later = [sample for sample in samples if start <= sample.n_trials < n_all]
        if len(later) < 2 * _WINDOW:
            raise ValueError(f"{len(later)} samples after trial {start}, expected at least {2 * _WINDOW}")
        first, last = later[:_WINDOW], later[-_WINDOW:]
        return cls(
            first_trial=first[_WINDOW // 2].n_trials,
            last_trial=last[_WINDOW // 2].n_trials,
            first_bytes=statistics.median(sample.uss_bytes for sample in first),
            last_bytes=statistics.median(sample.uss_bytes for sample in last),
            first_fds=min(sample.n_fds for sample in first),
            last_fds=min(sample.n_fds for sample in last),
        )

    @property
    def bytes_per_trial(self) -> float:
        return (self.last_bytes - self.first_bytes) / max(1, self.last_trial - self.first_trial)

    def problems(self, per_listed_trial: float) -> list[str]:
        """Returns what grew more than it may.

        Args:
            per_listed_trial: bytes that a trial needs in the list of trials.
        """
        found = []
        n_trials = self.last_trial - self.first_trial
        allowed = _FACTOR * max(0.0, per_listed_trial) * n_trials + _SLACK_BYTES
        if self.last_bytes - self.first_bytes > allowed:
            found.append(
                f"memory grew by {(self.last_bytes - self.first_bytes) / 2**20:.1f} MiB in {n_trials} trials; "
                f"allowed are {allowed / 2**20:.1f} MiB"
            )
        if self.last_fds > self.first_fds + _MORE_FDS:
            found.append(f"file descriptors grew from {self.first_fds} to {self.last_fds}")
        return found
