"""Benchmark 4: what a study of many trials costs, a trial, and in whole.

Studies of instant trials: all that is not training is real (`study.py`). A study is kept in the state's folder, with
what its trials cost, and is not run again; delete its folder to measure anew. So the commands can be timed again.
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
from tests.benchmarks.frame import Options, Result, Target, in_turn, median, python, wall_s

_SIZES, _QUICK_SIZES = (100, 1000, 10_000), (10, 20)
_LAST = 100
_PATIENCE_S = 2 * 3600
"""A study that would take longer, by what the smaller one cost at its end, is left out."""
_KINDS = ("ask", "report", "log", "tell", "own", "whole")
_TIMES, _TRIALS_BOUND_S = 2.0, 2.0


@dataclass(frozen=True)
class Case:
    """One study.

    Attributes:
        sampler: random, without a pruner; or tpe, with hyperband.
        workers: trials at once.
        n_trials: its budget.
    """

    sampler: str
    workers: int
    n_trials: int


def run(options: Options) -> Result:
    """Runs the studies that are not there yet, and times the commands on each."""
    root = options.state / ("scale-quick" if options.quick else "scale")
    sizes = _QUICK_SIZES if options.quick else _SIZES
    rows: list[dict[str, Any]] = []
    targets: list[Target] = []
    notes = [
        "ask, report, log, tell and own (the instant trial's own files): ms a trial, the mean over the last "
        f"{_LAST}; log is the sender's thread, beside the rest; whole is the wall clock",
        "trials, compare and doctor: s, as processes; memory: the supervisor's peak, with its libraries",
    ]
    for sampler, workers in (("random", 1), ("random", 2), ("tpe", 1), ("tpe", 2)):
        costs: list[dict[str, float]] = []
        for n_trials in sizes:
            case = Case(sampler, workers, n_trials)
            if costs and costs[-1]["whole"] * n_trials > _PATIENCE_S:
                notes.append(f"left out: {sampler}, {workers} at once, {n_trials:,} trials; it would take hours")
                continue
            costs.append(_costs(root, case, options))
            rows.append(_row(root, case, costs[-1], options.rounds))
        if sampler == "random":
            targets += _targets(f"random, {workers} at once", sizes[0], costs, rows[-1])
    return Result("scale", "Scale: studies of many trials", rows, targets, notes)


def _home(root: Path, case: Case, turn: int = 0) -> Path:
    again = f"-{turn}" if turn else ""
    return root / f"{case.sampler}-{case.workers}-{case.n_trials}{again}"


def _costs(root: Path, case: Case, options: Options) -> dict[str, float]:
    """Returns the mean seconds of each kind of work over its last trials; for the smallest the median of several."""
    several = options.rounds if case.n_trials <= _LAST else 1
    means = [dict(_means(_ran(_home(root, case, turn), case))) for turn in range(several)]
    for turn in range(1, several):
        shutil.rmtree(_home(root, case, turn) / "work", ignore_errors=True)  # its costs are enough
        shutil.rmtree(_home(root, case, turn) / "artifacts", ignore_errors=True)
    return {kind: median([mean[kind] for mean in means]) for kind in _KINDS}


def _ran(home: Path, case: Case) -> list[dict[str, float]]:
    """Returns what each trial of a study cost, running those that have not run."""
    costs = home / "costs.jsonl"
    if not costs.exists() or len(costs.read_text().splitlines()) < case.n_trials:
        options = [f"--{name}={value}" for name, value in (("sampler", case.sampler), ("workers", case.workers))]
        wall_s(python("-m", "tests.benchmarks.scale.study", str(home), f"--trials={case.n_trials}", *options))
    return [json.loads(line) for line in costs.read_text().splitlines()]


def _means(costs: list[dict[str, float]]) -> Iterator[tuple[str, float]]:
    for kind in _KINDS:
        yield kind, statistics.fmean(trial[kind] for trial in costs[-_LAST:])


def _row(root: Path, case: Case, costs: dict[str, float], rounds: int) -> dict[str, Any]:
    home = Home.at(_home(root, case))
    timed = {
        "trials": python("-m", "rnnexp", "trials", "scale", "--home", str(home.root)),
        "compare": python("-m", "rnnexp", "compare", "scale", "--home", str(home.root)),
        "doctor": python("-m", "rnnexp", "doctor", "--no-devices", "--home", str(home.root)),
    }
    seconds = in_turn(rounds, *(lambda command=command: wall_s(command) for command in timed.values()))
    peak = json.loads((home.root / "process.json").read_text())["peak_bytes"]
    return {
        "sampler": case.sampler,
        "workers": case.workers,
        "trials": case.n_trials,
        **{f"{kind}, ms": 1000 * costs[kind] for kind in _KINDS},
        **{f"{name}, s": median(taken) for name, taken in zip(timed, seconds, strict=True)},
        "memory, MB": peak / 1e6,
        "disk, MB": size(home.root) / 1e6,
    }


def _targets(what: str, smallest: int, costs: list[dict[str, float]], largest: dict[str, Any]) -> list[Target]:
    times = costs[-1]["whole"] / costs[0]["whole"]
    at = f"{what}, {largest['trials']:,} trials"
    return [
        Target(f"{at}: what a trial costs, in multiples of {smallest} trials'", times, _TIMES, at_least=False),
        Target(f"{at}: `trials`, s", largest["trials, s"], _TRIALS_BOUND_S, at_least=False),
    ]
