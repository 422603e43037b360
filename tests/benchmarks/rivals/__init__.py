"""Compares the plain loop, KerasTuner, Ray Tune and `rnnexp sweep` on the same eight configurations of two epochs each.

The figure is the wall clock of the whole process, with no other load. Every finished run is stored, so an interrupted
benchmark resumes. A ratio is computed within each round; the result is the median over the rounds. Each round starts
with another contestant. The benchmark `accuracy` compares the accuracies: it needs more seeds, but no idle machine.
"""

import json
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
    stored = read_lines(file)
    n_before = len(stored)
    for round_number in range(options.rounds):
        for name in rotated(list(installed), round_number):
            if not any((line["contestant"], line["round"]) == (name, round_number) for line in stored):
                stored.append(run_once(contestants, installed[name], name, round_number, options.quick))
                with file.open("a") as lines:
                    lines.write(json.dumps(stored[-1]) + "\n")
    used = [line for line in stored if line["contestant"] in installed and line["round"] < options.rounds]
    seconds = {name: _by_round(used, name, "seconds") for name in installed}
    means = {name: _by_round(used, name, "mean") for name in installed}
    notes = [
        *missing,
        f"{options.rounds} rounds, each with its own seed and another first contestant; every contestant starts the "
        "longest configurations first",
        "the accuracy is the mean of the eight and has no target here: `--only accuracy` compares it",
    ]
    if n_before:
        notes.append(f"{n_before} runs are from earlier starts, the first of {stored[0]['when']}; they are in {file}")
    return Result(
        name="rivals",
        title="Eight configurations, two epochs each: compared with the plain loop and the rivals",
        rows=[_row(contestants, name, seconds, means) for name in installed],
        targets=_speed_targets(contestants, seconds),
        notes=notes,
        details=used,
    )


def rotated(names: Sequence[str], round_number: int) -> list[str]:
    """Returns the contestants in the order in which a round runs them. Each is the first one in turn."""
    start = round_number % len(names)
    return [*names[start:], *names[:start]]


def run_once(contestants: Any, contestant: Any, name: str, round_number: int, quick: bool) -> StoredRun:
    """Runs a contestant in a new folder; the number of the round is its seed."""
    print(f"round {round_number + 1}: {name}", file=sys.stderr, flush=True)
    when = time.strftime("%Y-%m-%d %H:%M")
    with tempfile.TemporaryDirectory(prefix="rnnexp-") as folder:
        result = contestant(contestants.build_task(Path(folder), round_number, quick))
    mean = statistics.fmean(result.accuracies)
    return {"contestant": name, "round": round_number, "when": when, "mean": mean, **asdict(result)}


def read_lines(file: Path) -> list[StoredRun]:
    """Returns the finished runs of a file; none if there is no file."""
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
