"""The cost of studies with many trials, per trial and in total.

The trials are instant; everything but the training is real (`study.py`). A study is stored in the state folder together
with the costs of its trials and is not run again while the program stays the same. The commands are timed on the stored
studies every time.
"""

import json
import shutil
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rnnexp.health.usage import size
from rnnexp.home import Home
from tests.benchmarks.harness import (
    Options,
    Result,
    Target,
    interleaved,
    median,
    program_digest,
    python_command,
    users_environment,
    wall_s,
)

_WORKERS = 2
_N_LAST = 100
"""The cost of a trial is the mean over so many last trials of a study."""
_N_REPETITIONS = 2
"""How often the smallest study of the random sampler is run: all others are compared with it."""
_UNIT = 500
"""A study that does not fit into the benchmark's share of time gets a multiple of so many trials."""
_STUDY_SHARE = 0.9
"""The part of the time left that a study may take; the commands on it take the rest."""
_COSTS = ("ask", "report", "log", "tell", "own", "whole")
"""The keys of costs.jsonl."""
_MAX_GROWTH, _MAX_TRIALS_COMMAND_S, _MAX_DOCTOR_S = 2.0, 2.0, 15.0


@dataclass(frozen=True)
class Case:
    """One study.

    Attributes:
        sampler: `random`, without a pruner; or `tpe`, with hyperband.
        n_trials: the budget, if there is time for it.
    """

    sampler: str
    n_trials: int


_CASES = (Case("random", 100), Case("tpe", 100), Case("random", 1000), Case("tpe", 1000), Case("random", 10_000))
"""The largest study is the last one, so that it is the one that is reduced. The cost of TPE grows with the study too,
and 1,000 trials show how."""
_QUICK_CASES = (Case("random", 10), Case("tpe", 10), Case("random", 20))


def run(options: Options) -> Result:
    """Runs the studies that are not stored yet, and times the commands on each study."""
    root = _root(options)
    costs: dict[Case, dict[str, float]] = {}
    rows: list[dict[str, Any]] = []
    notes = [
        f"{_WORKERS} concurrent trials; ask, report, log, tell and own (the instant trial's own files): ms per trial, "
        f"the mean over the last {_N_LAST}; log is in the sender thread, concurrent with the rest; whole is the wall "
        "clock",
        "trials, compare and doctor: s, as processes; memory: the supervisor's peak, with its libraries",
    ]
    for case in _QUICK_CASES if options.quick else _CASES:
        smaller = [costs[other]["whole"] for other in costs if other.sampler == case.sampler]
        n_trials = case.n_trials
        if smaller and not _is_complete(root, case):
            n_trials = n_affordable(case, smaller[-1], options)
        if n_trials < case.n_trials:
            size_text = f"reduced to {n_trials:,} trials" if n_trials else "left out"
            notes.append(
                f"{case.sampler}, {case.n_trials:,} trials: {size_text}, because the benchmark may take "
                f"{options.share.seconds / 60:.0f} minutes"
            )
        if n_trials:
            costs[case] = _costs(root, case, n_trials)
            rows.append(_row(root, case, costs[case], options.rounds))
    return Result("scale", "Scale: studies of many trials", rows, targets(rows), notes)


def n_affordable(case: Case, trial_s: float, options: Options) -> int:
    """Returns the number of trials for which there is time.

    Args:
        case: the study.
        trial_s: the cost of a trial of the smaller study.
        options: has the share of time.
    """
    return min(case.n_trials, options.share.n_steps(case.n_trials, trial_s / _STUDY_SHARE, _UNIT))


def _root(options: Options) -> Path:
    """Returns the folder of the studies; those of another program are removed."""
    root, digest = options.stored("scale"), program_digest()
    mark = root / "program.txt"
    if root.exists() and not (mark.exists() and mark.read_text() == digest):
        shutil.rmtree(root)
    root.mkdir(parents=True, exist_ok=True)
    mark.write_text(digest)
    return root


def _home(root: Path, case: Case, repetition: int = 0) -> Path:
    suffix = f"-{repetition}" if repetition else ""
    return root / f"{case.sampler}-{case.n_trials}{suffix}"


def _is_complete(root: Path, case: Case) -> bool:
    return (_home(root, case) / "process.json").exists()


def _costs(root: Path, case: Case, n_trials: int) -> dict[str, float]:
    """Returns the mean seconds of each cost over the last trials; the smallest study is repeated, for a median."""
    n_repetitions = _N_REPETITIONS if case == _CASES[0] else 1
    means = [dict(_means(_run_or_load(_home(root, case, n), case, n_trials))) for n in range(n_repetitions)]
    for number in range(1, n_repetitions):
        for folder in ("work", "artifacts"):  # only the costs are needed
            shutil.rmtree(_home(root, case, number) / folder, ignore_errors=True)
    return {cost: median([mean[cost] for mean in means]) for cost in _COSTS}


def _run_or_load(home: Path, case: Case, n_trials: int) -> list[dict[str, float]]:
    """Returns the costs of each trial of a study, after running the trials that are missing."""
    if not (home / "process.json").exists():
        options = [f"--sampler={case.sampler}", f"--workers={_WORKERS}", f"--trials={n_trials}"]
        wall_s(python_command("-m", "tests.benchmarks.scale.study", str(home), *options))
    return [json.loads(line) for line in (home / "costs.jsonl").read_text().splitlines()]


def _means(costs: list[dict[str, float]]) -> Iterator[tuple[str, float]]:
    for cost in _COSTS:
        yield cost, statistics.fmean(trial[cost] for trial in costs[-_N_LAST:])


def _row(root: Path, case: Case, costs: dict[str, float], n_rounds: int) -> dict[str, Any]:
    home = Home.at(_home(root, case))
    commands = {
        "trials": python_command("-m", "rnnexp", "trials", "scale", "--home", str(home.root)),
        "compare": python_command("-m", "rnnexp", "compare", "scale", "--home", str(home.root)),
        "doctor": python_command("-m", "rnnexp", "doctor", "--no-devices", "--home", str(home.root)),
    }
    measures = [partial(wall_s, command, env=users_environment()) for command in commands.values()]
    seconds = interleaved(n_rounds, *measures)
    process = json.loads((home.root / "process.json").read_text())
    return {
        "sampler": case.sampler,
        "trials": process["n_trials"],
        **{f"{cost}, ms": 1000 * costs[cost] for cost in _COSTS},
        **{f"{name}, s": median(values) for name, values in zip(commands, seconds, strict=True)},
        "memory, MB": process["peak_bytes"] / 1e6,
        "disk, MB": size(home.root) / 1e6,
    }


def targets(rows: Sequence[dict[str, Any]]) -> list[Target]:
    """Returns the targets: of the random sampler, whose largest study is compared with its smallest."""
    ours = [row for row in rows if row["sampler"] == "random"]
    smallest, largest = ours[0], ours[-1]
    growth = largest["whole, ms"] / smallest["whole, ms"]
    case = f"random, {largest['trials']:,} trials"
    title = f"{case}: cost per trial, in multiples of that of {smallest['trials']} trials"
    return [
        Target(title, growth, _MAX_GROWTH, at_least=False),
        Target(f"{case}: `trials`, s", largest["trials, s"], _MAX_TRIALS_COMMAND_S, at_least=False),
        Target(f"{case}: `doctor`, s", largest["doctor, s"], _MAX_DOCTOR_S, at_least=False),
    ]
