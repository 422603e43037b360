"""Compares the accuracies of contestants that train in different ways, by cell, over several seeds.

It times nothing, so other load is allowed. Every finished run is stored, and an interrupted benchmark resumes.
The target is met only if the lower confidence bound of the difference is above a fixed margin: noise makes that harder.
"""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from scipy import stats

from tests.benchmarks import plain
from tests.benchmarks.harness import Options, Result, Target
from tests.benchmarks.rivals import StoredRun, check_data, names, read_lines, rotated, run_once

MARGIN = 0.005
"""rnnexp may be worse than the plain loop by at most this much."""
CONFIDENCE = 0.95
MIN_SEEDS = 8


def run(options: Options) -> Result:
    """Runs what was not run yet, and compares."""
    from tests.benchmarks.rivals import contestants

    check_data()
    compared = names.choose(contestants.trained_differently(), options.contestants, "accuracy")
    n_seeds = 2 if options.quick else options.seeds
    file = options.stored("accuracy", ".jsonl")
    stored = read_lines(file)
    for seed in range(n_seeds):
        for name in rotated(list(compared), seed):
            if not any((line["contestant"], line["round"]) == (name, seed) for line in stored):
                stored.append(run_once(contestants, compared[name], name, seed, options.quick))
                with file.open("a") as lines:
                    lines.write(json.dumps(stored[-1]) + "\n")
    used = [line for line in stored if line["contestant"] in compared and line["round"] < n_seeds]
    return compare(used, names.PLAIN, names.RNNEXP, [*compared], enough=not options.quick)


def compare(
    stored: Sequence[StoredRun], reference: str, judged: str, compared: Sequence[str], *, enough: bool
) -> Result:
    """Compares the accuracies of each cell with those of the reference.

    Args:
        stored: the finished runs; `round` is the seed.
        reference: the contestant that the others are compared with.
        judged: the contestant that has targets, if it is compared.
        compared: the contestants.
        enough: whether all texts were used.
    """
    cells = list(dict.fromkeys(settings["cell"] for settings in plain.CONFIGURATIONS))
    means = {(name, cell): by_seed(stored, name, cell) for name in compared for cell in cells}
    rows, targets = [], []
    for cell in cells:
        for name in compared:
            difference, low, high = interval(means[name, cell], means[reference, cell])
            rows.append(_row(cell, name, means[name, cell], difference, low, high))
            if name == judged:
                title = f"{cell}: accuracy minus the {reference}'s, lower {CONFIDENCE:.0%} confidence bound"
                targets.append(Target(title, low, -MARGIN))
    n_seeds = min(len(values) for values in means.values())
    notes = [
        f"{n_seeds} seeds; a figure is the mean over the configurations of a cell of the best val_accuracy of "
        f"{plain.EPOCHS} epochs; the bounds are one-sided {CONFIDENCE:.0%} confidence bounds by Welch's t",
        "all contestants are judged on the same 5,000 texts: the bounds cover the seeds, not the choice of texts "
        f"(one value's standard error is {standard_error(0.87, 5000):.4f} at 0.87)",
    ]
    if not enough or n_seeds < MIN_SEEDS:
        targets = []
        notes.append(f"no target: it needs {MIN_SEEDS} seeds and all texts")
    return Result(
        name="accuracy",
        title="Accuracy of the eight configurations by cell, compared with the plain loop",
        rows=rows,
        targets=targets,
        notes=notes,
        details=stored,
    )


def by_seed(stored: Sequence[StoredRun], name: str, cell: str) -> list[float]:
    """Returns the mean accuracy of a contestant's configurations of one cell, for each seed."""
    chosen = [index for index, settings in enumerate(plain.CONFIGURATIONS) if settings["cell"] == cell]
    lines = sorted((line for line in stored if line["contestant"] == name), key=lambda line: line["round"])
    return [statistics.fmean(line["accuracies"][index] for index in chosen) for line in lines]


def interval(values: Sequence[float], reference: Sequence[float]) -> tuple[float, float, float]:
    """Returns the difference of two means, and the lower and the upper confidence bound of it."""
    difference = statistics.fmean(values) - statistics.fmean(reference)
    if min(len(values), len(reference)) < 2:
        return difference, -math.inf, math.inf
    parts = [statistics.variance(sample) / len(sample) for sample in (values, reference)]
    if not sum(parts):
        return difference, difference, difference
    freedom = sum(parts) ** 2 / sum(
        part**2 / (len(sample) - 1) for part, sample in zip(parts, (values, reference), strict=True)
    )
    width = float(stats.t.ppf(CONFIDENCE, freedom)) * math.sqrt(sum(parts))
    return difference, difference - width, difference + width


def standard_error(share: float, n: int) -> float:
    """Returns the standard error of a share of n texts."""
    return math.sqrt(share * (1 - share) / n)


def _row(
    cell: str, name: str, values: Sequence[float], difference: float, low: float, high: float
) -> Mapping[str, Any]:
    return {
        "cell": cell,
        "contestant": name,
        "mean": statistics.fmean(values),
        "lowest seed": min(values),
        "highest seed": max(values),
        "minus plain loop": f"{difference:+.4f}",
        "bounds": f"{low:+.4f} to {high:+.4f}",
    }
