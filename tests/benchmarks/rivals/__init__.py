"""The plain loop, KerasTuner, Ray Tune and `rnnexp sweep` on the same eight configurations, two epochs each.

Wall clock of the whole process, nothing else running. Every finished run is kept, so that what was interrupted goes on;
a ratio is taken within a round, then the median over the rounds.
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

from tests.benchmarks.frame import Options, Result, Target, median

Kept = Mapping[str, Any]
"""A line of the file of finished runs."""

_TIMES_PLAIN, _TIMES_RAY = 5.0, 4.5


def run(options: Options) -> Result:
    """Runs what has not been run yet, and compares."""
    # Not above: the rivals' programs are in this package, and their Python need not have what this needs.
    from tests.benchmarks.rivals import contestants

    if "RNNEXP_DATA" not in os.environ:
        raise RuntimeError("RNNEXP_DATA names no folder with imdb.npz; the rivals read it there")
    there, missing = contestants.installed()
    file = options.state / f"rivals{'-quick' if options.quick else ''}.jsonl"
    kept = _read(file)
    n_before = len(kept)
    for number in range(options.rounds):
        for name, contestant in there.items():
            if not any((line["contestant"], line["round"]) == (name, number) for line in kept):
                kept.append(_run(contestants, contestant, name, number, options.quick))
                with file.open("a") as lines:
                    lines.write(json.dumps(kept[-1]) + "\n")
    counted = [line for line in kept if line["contestant"] in there and line["round"] < options.rounds]
    seconds = {name: _by_round(counted, name, "seconds") for name in there}
    means = {name: _by_round(counted, name, "mean") for name in there}
    notes = [*missing, f"{options.rounds} rounds, each with a seed of its own; the accuracy is the mean of the eight's"]
    if n_before:
        notes.append(f"{n_before} runs were kept from before, the first of {kept[0]['when']}; {file} holds them")
    if options.quick or options.rounds < 2:
        notes.append("no target for the accuracy: one round does not tell the noise, and few reviews teach nothing")
        accuracy = []
    else:
        accuracy = [_accuracy(contestants, means)]
    return Result(
        name="rivals",
        title="Eight configurations, two epochs each: against the plain loop and the rivals",
        rows=[_row(contestants, name, seconds, means) for name in there],
        targets=[*_speed(contestants, seconds), *accuracy],
        notes=notes,
        details=counted,
    )


def _run(contestants: Any, contestant: Any, name: str, number: int, quick: bool) -> Kept:
    print(f"round {number + 1}: {name}", file=sys.stderr, flush=True)
    when = time.strftime("%Y-%m-%d %H:%M")
    with tempfile.TemporaryDirectory(prefix="rnnexp-") as folder:
        ran = contestant(contestants.Task(Path(folder), number, quick))
    return {"contestant": name, "round": number, "when": when, "mean": statistics.fmean(ran.accuracies), **asdict(ran)}


def _read(file: Path) -> list[Kept]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def _by_round(kept: Sequence[Kept], name: str, what: str) -> list[float]:
    """Returns a contestant's figures, the first round's first."""
    lines = sorted((line for line in kept if line["contestant"] == name), key=lambda line: line["round"])
    return [line[what] for line in lines]


def _times(slower: Sequence[float], faster: Sequence[float]) -> float:
    """Returns how many times as fast, each round for itself, then the median."""
    return median([one / other for one, other in zip(slower, faster, strict=True)])


def _row(
    contestants: Any, name: str, seconds: Mapping[str, list[float]], means: Mapping[str, list[float]]
) -> dict[str, Any]:
    return {
        "contestant": name,
        "s": median(seconds[name]),
        "least": min(seconds[name]),
        "most": max(seconds[name]),
        "times as fast as the plain loop": _times(seconds[contestants.PLAIN], seconds[name]),
        "mean best val_accuracy": statistics.fmean(means[name]),
        "lowest round": min(means[name]),
        "highest round": max(means[name]),
    }


def _speed(contestants: Any, seconds: Mapping[str, list[float]]) -> list[Target]:
    ours = seconds[contestants.RNNEXP]
    targets = [Target("times as fast as the plain loop", _times(seconds[contestants.PLAIN], ours), _TIMES_PLAIN)]
    if contestants.RAY in seconds:
        targets.append(Target("times as fast as Ray Tune", _times(seconds[contestants.RAY], ours), _TIMES_RAY))
    return targets


def _accuracy(contestants: Any, means: Mapping[str, list[float]]) -> Target:
    """Holds the mean accuracy to the plain loop's, less what the seeds alone make of it."""
    ours, plain = means[contestants.RNNEXP], means[contestants.PLAIN]
    noise = 2 * math.sqrt((statistics.variance(ours) + statistics.variance(plain)) / len(plain))
    difference = statistics.fmean(ours) - statistics.fmean(plain)
    return Target("mean accuracy less the plain loop's, held to two standard errors below 0", difference, -noise)
