"""Compares the plain loop, KerasTuner, Ray Tune and `rnnexp sweep` on the same eight configurations of two epochs each.

The figure is the wall clock of the whole process, with no other load. Every finished run is stored, so an interrupted
benchmark resumes. A ratio is computed within each round; the result is the median over the rounds.
"""

import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.benchmarks.harness import Options, Result, Target, median

StoredRun = Mapping[str, Any]
"""A line of the file of finished runs."""

_MIN_SPEEDUP_PLAIN, _MIN_SPEEDUP_RAY = 5.0, 4.5


def run(options: Options) -> Result:
    """Runs what was not run yet, and compares."""
    # Imported here: the rivals' programs are in this package, and their Python may lack what this module needs.
    from tests.benchmarks.rivals import contestants

    if "RNNEXP_DATA" not in os.environ:
        raise RuntimeError("RNNEXP_DATA is not set; the rivals read imdb.npz from the folder that it names")
    installed, missing = contestants.find_installed()
    file = options.state / f"rivals{'-quick' if options.quick else ''}.jsonl"
    stored = _read(file)
    n_before = len(stored)
    for round_number in range(options.rounds):
        for name, contestant in installed.items():
            if not any((line["contestant"], line["round"]) == (name, round_number) for line in stored):
                stored.append(_run(contestants, contestant, name, round_number, options.quick))
                with file.open("a") as lines:
                    lines.write(json.dumps(stored[-1]) + "\n")
    used = [line for line in stored if line["contestant"] in installed and line["round"] < options.rounds]
    seconds = {name: _by_round(used, name, "seconds") for name in installed}
    means = {name: _by_round(used, name, "mean") for name in installed}
    notes = [*missing, f"{options.rounds} rounds, each with its own seed; the accuracy is the mean of the eight"]
    if n_before:
        notes.append(f"{n_before} runs are from earlier starts, the first of {stored[0]['when']}; they are in {file}")
    if options.quick or options.rounds < 2:
        notes.append("no target for the accuracy: it needs several rounds, to estimate the noise, and all texts")
        accuracy = []
    else:
        accuracy = [_accuracy_target(contestants, means)]
    return Result(
        name="rivals",
        title="Eight configurations, two epochs each: compared with the plain loop and the rivals",
        rows=[_row(contestants, name, seconds, means) for name in installed],
        targets=[*_speed_targets(contestants, seconds), *accuracy],
        notes=notes,
        details=used,
    )


def _run(contestants: Any, contestant: Any, name: str, round_number: int, quick: bool) -> StoredRun:
    print(f"round {round_number + 1}: {name}", file=sys.stderr, flush=True)
    when = time.strftime("%Y-%m-%d %H:%M")
    with tempfile.TemporaryDirectory(prefix="rnnexp-") as folder:
        result = contestant(contestants.Task(Path(folder), round_number, quick))
    mean = statistics.fmean(result.accuracies)
    return {"contestant": name, "round": round_number, "when": when, "mean": mean, **asdict(result)}


def _read(file: Path) -> list[StoredRun]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def _by_round(stored: Sequence[StoredRun], name: str, key: str) -> list[float]:
    """Returns one figure of a contestant for each round, in the order of the rounds."""
    lines = sorted((line for line in stored if line["contestant"] == name), key=lambda line: line["round"])
    return [line[key] for line in lines]


def _speedup(slower: Sequence[float], faster: Sequence[float]) -> float:
    """Returns the median over the rounds of the ratio within each round."""
    return median([slow / fast for slow, fast in zip(slower, faster, strict=True)])


def _row(
    contestants: Any, name: str, seconds: Mapping[str, list[float]], means: Mapping[str, list[float]]
) -> dict[str, Any]:
    return {
        "contestant": name,
        "s": median(seconds[name]),
        "min": min(seconds[name]),
        "max": max(seconds[name]),
        "times as fast as the plain loop": _speedup(seconds[contestants.PLAIN], seconds[name]),
        "mean best val_accuracy": statistics.fmean(means[name]),
        "lowest round": min(means[name]),
        "highest round": max(means[name]),
    }


def _speed_targets(contestants: Any, seconds: Mapping[str, list[float]]) -> list[Target]:
    rnnexp = seconds[contestants.RNNEXP]
    speedup = _speedup(seconds[contestants.PLAIN], rnnexp)
    targets = [Target("times as fast as the plain loop", speedup, _MIN_SPEEDUP_PLAIN)]
    if contestants.RAY in seconds:
        speedup = _speedup(seconds[contestants.RAY], rnnexp)
        targets.append(Target("times as fast as Ray Tune", speedup, _MIN_SPEEDUP_RAY))
    return targets


def _accuracy_target(contestants: Any, means: Mapping[str, list[float]]) -> Target:
    """Compares the mean accuracy with the plain loop's; the bound allows for the noise between seeds."""
    rnnexp, plain = means[contestants.RNNEXP], means[contestants.PLAIN]
    noise = 2 * math.sqrt((statistics.variance(rnnexp) + statistics.variance(plain)) / len(plain))
    difference = statistics.fmean(rnnexp) - statistics.fmean(plain)
    return Target("mean accuracy minus the plain loop's (bound: two standard errors below 0)", difference, -noise)
