"""Trials that are killed at random moments and go on must end with the weights of an undisturbed run, bit for bit."""

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from rnnexp.trial import events
from tests.drill import check, processes
from tests.drill.sweeps import EPOCHS, STUDY, SWEEP, Sweep, World


@dataclass(frozen=True)
class Appointment:
    """When a trial is killed: so long after so many epochs."""

    after_epoch: int
    seconds: float


def run(world: World, n_trials: int, reference: Sweep, rng: random.Random, note: Callable[[str], None]) -> int:
    """Kills each trial once or twice; returns how many end as their undisturbed twins."""
    sweep = Sweep(world, SWEEP, STUDY, "--trials", str(n_trials))
    due = {
        number: [Appointment(rng.randrange(EPOCHS - 2), rng.uniform(0.0, 0.6)) for _ in range(rng.randint(1, 2))]
        for number in range(n_trials)
    }
    for appointments in due.values():
        appointments.sort(key=lambda one: one.after_epoch)
    killed = dict.fromkeys(due, 0)
    try:
        sweep.start()
        while sweep.running:
            for trial in sweep.trials:
                assert trial.trial is not None
                if due[trial.trial] and _epochs(sweep, trial.trial) >= due[trial.trial][0].after_epoch:
                    time.sleep(due[trial.trial][0].seconds)
                    if processes.send(trial.pid, signal.SIGKILL):
                        killed[trial.trial] += 1
                        due[trial.trial].pop(0)
            time.sleep(0.02)
        sweep.until_complete()
        faults = check.whole(sweep, n_trials, EPOCHS)
        undisturbed = {row.number: row for row in reference.view().trials}
        n_same = 0
        for row in sweep.view().trials:
            mine = list(check.differs(sweep, row, reference, undisturbed))
            if not killed[row.number] or row.attempts < 2:
                mine.append(f"was killed {killed[row.number]} times and had {row.attempts} attempts")
            n_same += not mine
            faults += [f"trial {row.number}: {fault}" for fault in mine]
        for fault in faults:
            note(f"NOT SURVIVED: {fault}")
        note(f"killed {sum(killed.values())} times, in {sum(row.attempts for row in sweep.view().trials)} attempts")
        return n_same if not faults else min(n_same, n_trials - 1)
    finally:
        sweep.end()


def _epochs(sweep: Sweep, number: int) -> int:
    return len(events.epochs(events.read(sweep.home.study(sweep.study).trial(number).events)))
