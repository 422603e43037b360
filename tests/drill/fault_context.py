"""The sweep into which faults are injected, and how a fault waits for its moment."""

import random
import time
from dataclasses import dataclass

from rnnexp.home import TrialFolder
from rnnexp.trial import events
from rnnexp.trial.folder_lock import lock_holders
from tests.drill.processes import Process
from tests.drill.sweeps import NotSurvivedError, Sweep


@dataclass
class FaultContext:
    """The sweep into which faults are injected.

    Attributes:
        sweep: the running sweep.
        rng: selects moments and trials.
        stopped: pids of processes that were stopped and left behind; the next start must kill them.
    """

    sweep: Sweep
    rng: random.Random
    stopped: list[int]

    def sleep(self, min_s: float, max_s: float) -> None:
        time.sleep(self.rng.uniform(min_s, max_s))

    def wait_for_trial(self, *, with_lock: bool = False) -> Process:
        """Waits until a trial runs; returns the process of a random running trial.

        Args:
            with_lock: only a process that has the lock of its folder, through which the next start finds it. A process
                that is stopped before ends when it continues, and writes nothing.
        """
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            trials = self.sweep.trial_processes
            if with_lock:
                trials = [process for process in trials if process.pid in lock_holders(self._folder(process).lock)]
            if trials:
                return self.rng.choice(trials)
            if not self.sweep.running:
                raise SweepEndedError
            time.sleep(0.05)
        raise NotSurvivedError(f"no trial runs for 60 s; last output: {self.sweep.last_lines}")

    def wait_for_epoch(self) -> None:
        """Waits until a running trial has finished an epoch and therefore has files."""
        deadline = time.monotonic() + 60
        while self.sweep.running and time.monotonic() < deadline:
            folders = [self._folder(process) for process in self.sweep.trial_processes]
            if any(events.epochs(events.read(folder.events)) for folder in folders):
                return
            time.sleep(0.1)

    def _folder(self, process: Process) -> TrialFolder:
        assert process.trial is not None
        return self.sweep.home.study(self.sweep.study).trial(process.trial)


class SweepEndedError(Exception):
    """The sweep ended before the fault could be injected."""
