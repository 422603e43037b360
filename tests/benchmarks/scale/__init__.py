"""The cost of studies with many trials, per trial and in total.

The trials are instant; everything but the training is real (`study.py`). A study is stored in the state folder together
with the costs of its trials and is not run again; delete its folder to measure it again. The commands are timed on the
stored studies every time.
"""

import json
import shutil
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnexp.health.usage import size
from rnnexp.home import Home
from tests.benchmarks.harness import Options, Result, Target, interleaved, median, python_command, wall_s

_SIZES, _QUICK_SIZES = (100, 1000, 10_000), (10, 20)
_N_LAST = 100
"""The cost of a trial is the mean over so many last trials of a study."""
_MAX_STUDY_S = 2 * 3600
"""A study is left out if it would take longer than this, estimated from the last trials of the smaller study."""
_COSTS = ("ask", "report", "log", "tell", "own", "whole")
"""The keys of costs.jsonl."""
_MAX_GROWTH, _MAX_TRIALS_COMMAND_S = 2.0, 2.0


@dataclass(frozen=True)
class Case:
    """One study.

    Attributes:
        sampler: `random`, without a pruner; or `tpe`, with hyperband.
        workers: number of concurrent trials.
        n_trials: the budget.
    """

    sampler: str
    workers: int
    n_trials: int


def run(options: Options) -> Result:
    """Runs the studies that are not stored yet, and times the commands on each study."""
    root = options.state / ("scale-quick" if options.quick else "scale")
    sizes = _QUICK_SIZES if options.quick else _SIZES
    rows: list[dict[str, Any]] = []
    targets: list[Target] = []
    notes = [
        "ask, report, log, tell and own (the instant trial's own files): ms per trial, the mean over the last "
        f"{_N_LAST}; log is in the sender thread, concurrent with the rest; whole is the wall clock",
        "trials, compare and doctor: s, as processes; memory: the supervisor's peak, with its libraries",
    ]
    for sampler, workers in (("random", 1), ("random", 2), ("tpe", 1), ("tpe", 2)):
        costs: list[dict[str, float]] = []
        for n_trials in sizes:
            case = Case(sampler, workers, n_trials)
            if costs and costs[-1]["whole"] * n_trials > _MAX_STUDY_S:
                notes.append(f"left out: {sampler}, {workers} at once, {n_trials:,} trials; it would take hours")
                continue
            costs.append(_costs(root, case, options))
            rows.append(_row(root, case, costs[-1], options.rounds))
        if sampler == "random":
            targets += _targets(f"random, {workers} at once", sizes[0], costs, rows[-1])
    return Result("scale", "Scale: studies of many trials", rows, targets, notes)


def _home(root: Path, case: Case, repetition: int = 0) -> Path:
    suffix = f"-{repetition}" if repetition else ""
    return root / f"{case.sampler}-{case.workers}-{case.n_trials}{suffix}"


def _costs(root: Path, case: Case, options: Options) -> dict[str, float]:
    """Returns the mean seconds of each cost over the last trials; the smallest study is repeated, for a median."""
    n_repetitions = options.rounds if case.n_trials <= _N_LAST else 1
    means = [dict(_means(_run_or_load(_home(root, case, number), case))) for number in range(n_repetitions)]
    for number in range(1, n_repetitions):
        shutil.rmtree(_home(root, case, number) / "work", ignore_errors=True)  # only costs.jsonl is needed
        shutil.rmtree(_home(root, case, number) / "artifacts", ignore_errors=True)
    return {cost: median([mean[cost] for mean in means]) for cost in _COSTS}


def _run_or_load(home: Path, case: Case) -> list[dict[str, float]]:
    """Returns the costs of each trial of a study, after running the trials that are missing."""
    costs = home / "costs.jsonl"
    if not costs.exists() or len(costs.read_text().splitlines()) < case.n_trials:
        options = [f"--{name}={value}" for name, value in (("sampler", case.sampler), ("workers", case.workers))]
        command = python_command("-m", "tests.benchmarks.scale.study", str(home), f"--trials={case.n_trials}")
        wall_s([*command, *options])
    return [json.loads(line) for line in costs.read_text().splitlines()]


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
    seconds = interleaved(n_rounds, *(lambda command=command: wall_s(command) for command in commands.values()))
    peak = json.loads((home.root / "process.json").read_text())["peak_bytes"]
    return {
        "sampler": case.sampler,
        "workers": case.workers,
        "trials": case.n_trials,
        **{f"{cost}, ms": 1000 * costs[cost] for cost in _COSTS},
        **{f"{name}, s": median(values) for name, values in zip(commands, seconds, strict=True)},
        "memory, MB": peak / 1e6,
        "disk, MB": size(home.root) / 1e6,
    }


def _targets(label: str, smallest: int, costs: list[dict[str, float]], largest: dict[str, Any]) -> list[Target]:
    growth = costs[-1]["whole"] / costs[0]["whole"]
    case = f"{label}, {largest['trials']:,} trials"
    return [
        Target(
            f"{case}: cost per trial, in multiples of that of {smallest} trials", growth, _MAX_GROWTH, at_least=False
        ),
        Target(f"{case}: `trials`, s", largest["trials, s"], _MAX_TRIALS_COMMAND_S, at_least=False),
    ]
