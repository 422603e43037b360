"""Samples the memory and the file descriptors of a running process."""

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

_INTERVAL_S = 0.2


@dataclass(frozen=True)
class Sample:
    """One measurement.

    Attributes:
        n_trials: trials that had a folder.
        uss_bytes: memory that the end of the process would free.
        n_fds: open file descriptors.
    """

    n_trials: int
    uss_bytes: int
    n_fds: int


def watch(process: "subprocess.Popen[bytes]", trials: Path) -> list[Sample]:
    """Samples the process until it ends.

    Args:
        process: the supervisor.
        trials: the folder that contains a folder for each trial.
    """
    samples = []
    while process.poll() is None:
        sample = _sample(process.pid, trials)
        if sample is not None:
            samples.append(sample)
        time.sleep(_INTERVAL_S)
    return samples


def _sample(pid: int, trials: Path) -> Sample | None:
    try:
        supervisor = psutil.Process(pid)
        n_trials = sum(1 for _ in trials.iterdir()) if trials.is_dir() else 0
        return Sample(n_trials, supervisor.memory_full_info().uss, supervisor.num_fds())
    except psutil.Error:  # it has just ended
        return None
