"""The supervisor with 2 to 128 slots whose trials are instant: how many trials and events a second it can handle.

The trials write their files in the supervisor's process; their own time is measured and subtracted. Nothing is sent to
MLflow: its rate is that of the column `log` of `scale`.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks.harness import Options, Result, python_command, users_environment, wall_s

_SLOTS, _QUICK_SLOTS = (2, 8, 32, 128), (2, 8)
_N_TRIALS, _N_QUICK_TRIALS = 300, 30


def run(options: Options) -> Result:
    """Runs one study for each number of slots."""
    n_trials = _N_QUICK_TRIALS if options.quick else _N_TRIALS
    rows = [_row(slots, n_trials) for slots in (_QUICK_SLOTS if options.quick else _SLOTS)]
    notes = (
        f"{n_trials} trials of 4 epochs, random sampler, SQLite; without the trials' own time and without MLflow",
        "busy: the share of one core that the supervisor would use if each slot's epochs took 10 s",
    )
    return Result("slots", "Slots: the supervisor with many instant slots", rows, [], notes)


def _row(slots: int, n_trials: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        options = [f"--workers={slots}", f"--trials={n_trials}", "--without-mlflow"]
        wall_s(python_command("-m", "tests.benchmarks.scale.study", folder, *options), env=users_environment())
        found = json.loads((Path(folder) / "process.json").read_text())
    wall = found["wall_s"] - found["own_s"]
    cpu = found["cpu_s"] - found["own_s"]
    per_event = cpu / found["n_events"]
    return {
        "slots": slots,
        "trials a second": found["n_trials"] / wall,
        "events a second": found["n_events"] / wall,
        "CPU per trial, ms": 1000 * cpu / found["n_trials"],
        "CPU per event, ms": 1000 * per_event,
        "busy at 10 s per epoch, %": 100 * slots * per_event / 10 * found["n_events"] / found["n_epochs"],
    }
