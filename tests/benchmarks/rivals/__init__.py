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

from tests.benchmarks.budget import TimeShare
from tests.benchmarks.harness import Options, Result, Target, UnavailableError, median, program_digest
from tests.benchmarks.rivals import names

StoredRun = Mapping[str, Any]
"""A line of the file of finished runs."""

OF_TARGETS = (names.PLAIN, names.RAY, names.RNNEXP)
"""These contestants run in every round; the others as far as the benchmark's share of time allows."""
_MIN_SPEEDUP_PLAIN, _MIN_SPEEDUP_RAY = 7.0, 6.0


def run(options: Options) -> Result:
    """Runs what was not run yet, and compares."""
    # Imported here: the rivals' programs are in this package, and their Python may lack what this module needs.
    from tests.benchmarks.rivals import contestants

    check_data()
    installed, notes = contestants.find_installed()
    installed = names.choose(installed, options.contestants, "rivals")
    file, program = options.stored("rivals", ".jsonl"), program_digest()
    every = read_lines(file)
    stored = [line for line in every if line.get("program") == program]
    earlier, left_out = tuple(stored), []
    for round_number in range(options.rounds):
        order = rotated(list(installed), round_number)
        done = {line["contestant"] for line in stored if line["round"] == round_number}
        for name in [name for name in order if name not in done]:
            later = [other for other in order[order.index(name) + 1 :] if other not in done]
            if not may_run(name, later, [line["seconds"] for line in stored], options.share):
                left_out.append(f"{name} in round {round_number + 1}")
                continue
            line = run_once(contestants, installed[name], name, round_number, options.quick)
            stored.append({**line, "program": program})
            with file.open("a") as lines:
                lines.write(json.dumps(stored[-1]) + "\n")
    used = [line for line in stored if line["contestant"] in installed and line["round"] < options.rounds]
    notes = [*notes, *_notes(options, file, left_out, earlier, len(every) - len(earlier))]
    return compare(used, list(installed), notes)


def check_data() -> None:
    """Checks that the folder with the texts is named.

    Raises:
        UnavailableError: if it is not.
    """
    if "RNNEXP_DATA" not in os.environ:
        raise UnavailableError("RNNEXP_DATA is not set; the contestants read imdb.npz from the folder that it names")


def may_run(name: str, later: Sequence[str], seconds: Sequence[float], share: TimeShare) -> bool:
    """Tells whether a contestant is run. Those of the targets always are; another one only if the time is enough.

    Args:
        name: the contestant.
        later: the contestants that follow in the round.
        seconds: of all finished runs. The longest is what a further run may take.
        share: the time of the benchmark.
    """
    if name in OF_TARGETS:
        return True
    n_runs = 1 + sum(other in OF_TARGETS for other in later)
    return share.allows(n_runs * max(seconds, default=0.0))


def _notes(
    options: Options, file: Path, left_out: Sequence[str], earlier: Sequence[StoredRun], n_other: int
) -> list[str]:
    rounds = f"{options.rounds} rounds" if options.rounds > 1 else "one round"
    notes = [
        f"{rounds}, each with its own seed and another first contestant; every contestant starts the longest "
        "configurations first",
        "the accuracy is the mean of the eight and has no target here: `--only accuracy` compares it",
    ]
    if left_out:
        minutes = options.share.seconds / 60
        notes.append(f"left out, because the benchmark may take {minutes:.0f} minutes: {', '.join(left_out)}")
    if earlier:
        when = earlier[0]["when"]
        notes.append(f"{len(earlier)} runs are from earlier starts, the first of {when}; they are in {file.name}")
    if n_other:
        notes.append(f"{n_other} stored runs are not used, because the program has changed since")
    return notes


def compare(used: Sequence[StoredRun], installed: Sequence[str], notes: Sequence[str]) -> Result:
    """Compares the wall clocks of the contestants that were run.

    Args:
        used: the finished runs.
        installed: the contestants in the order of the table.
        notes: lines for below the table.
    """
    seconds = {name: _by_round(used, name, "seconds") for name in installed}
    means = {name: _by_round(used, name, "mean") for name in installed}
    return Result(
        name="rivals",
        title="Eight configurations, two epochs each: compared with the plain loop and the rivals",
        rows=[_row(name, seconds, means) for name in installed if seconds[name]],
        targets=_speed_targets(seconds),
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


def _by_round(stored: Sequence[StoredRun], name: str, key: str) -> dict[int, float]:
    """Returns one figure of a contestant for each round in which it was run."""
    return {line["round"]: line[key] for line in stored if line["contestant"] == name}


def _speedup(slower: Mapping[int, float], faster: Mapping[int, float]) -> float:
    """Returns the median over the rounds that both have of the ratio within each round."""
    return median([slower[number] / faster[number] for number in slower.keys() & faster.keys()])


def _row(name: str, seconds: Mapping[str, dict[int, float]], means: Mapping[str, dict[int, float]]) -> dict[str, Any]:
    own, accuracies = seconds[name].values(), means[name].values()
    return {
        "contestant": name,
        "s": median([*own]),
        "min": min(own),
        "max": max(own),
        "times as fast as the plain loop": _speedup(seconds[names.PLAIN], seconds[name]),
        "mean best val_accuracy": statistics.fmean(accuracies),
        "lowest round": min(accuracies),
        "highest round": max(accuracies),
    }


def _speed_targets(seconds: Mapping[str, dict[int, float]]) -> list[Target]:
    rnnexp = seconds.get(names.RNNEXP)
    if not rnnexp:
        return []
    speedup = _speedup(seconds[names.PLAIN], rnnexp)
    targets = [Target("times as fast as the plain loop", speedup, _MIN_SPEEDUP_PLAIN)]
    if seconds.get(names.RAY):
        speedup = _speedup(seconds[names.RAY], rnnexp)
        targets.append(Target("times as fast as Ray Tune", speedup, _MIN_SPEEDUP_RAY))
    return targets
