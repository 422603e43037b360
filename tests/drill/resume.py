"""Kills trials at random moments; the resumed trials must end with the weights of the reference run, bit for bit."""

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from rnnexp.trial import events
from tests.drill import check, processes
from tests.drill.sweeps import EPOCHS, STUDY, SWEEP, Sandbox, Sweep


@dataclass(frozen=True)
class PlannedKill:
    """When a trial is killed: `delay_s` seconds after `after_epoch` epochs were logged."""

    after_epoch: int
    delay_s: float


def run(sandbox: Sandbox, n_trials: int, reference: Sweep, rng: random.Random, log: Callable[[str], None]) -> int:
    """Kills each trial once or twice; returns how many end equal to the reference run's trials."""
    sweep = Sweep(sandbox, SWEEP, STUDY, "--trials", str(n_trials))
    planned = {
        number: [PlannedKill(rng.randrange(EPOCHS - 2), rng.uniform(0.0, 0.6)) for _ in range(rng.randint(1, 2))]
        for number in range(n_trials)
    }
    for kills in planned.values():
        kills.sort(key=lambda kill: kill.after_epoch)
    try:
        n_kills = _kill_trials(sweep, planned)
        sweep.run_to_completion()
        problems = check.check_finished_study(sweep, n_trials, EPOCHS)
        reference_rows = {row.number: row for row in reference.view().trials}
        n_equal = 0
        for row in sweep.view().trials:
            trial_problems = list(check.trial_differences(sweep, row, reference, reference_rows))
            if not n_kills[row.number] or row.attempts < 2:
                trial_problems.append(f"was killed {n_kills[row.number]} times and had {row.attempts} attempts")
            n_equal += not trial_problems
            problems += [f"trial {row.number}: {problem}" for problem in trial_problems]
        for problem in problems:
            log(f"NOT SURVIVED: {problem}")
        n_attempts = sum(row.attempts for row in sweep.view().trials)
        log(f"trials were killed {sum(n_kills.values())} times, in {n_attempts} attempts")
        return n_equal if not problems else min(n_equal, n_trials - 1)
    finally:
        sweep.kill_all()


def _kill_trials(sweep: Sweep, planned: dict[int, list[PlannedKill]]) -> dict[int, int]:
    """Runs the sweep once and kills its trials as planned; returns the number of kills of each trial."""
    n_kills = dict.fromkeys(planned, 0)
    sweep.start()
    while sweep.running:
        for process in sweep.trial_processes:
            assert process.trial is not None
            kills = planned[process.trial]
            if kills and _n_epochs(sweep, process.trial) >= kills[0].after_epoch:
                time.sleep(kills[0].delay_s)
                if processes.send_signal(process.pid, signal.SIGKILL):
                    n_kills[process.trial] += 1
                    kills.pop(0)
        time.sleep(0.02)
    return n_kills


def _n_epochs(sweep: Sweep, number: int) -> int:
    return len(events.epochs(events.read(sweep.home.study(sweep.study).trial(number).events)))
