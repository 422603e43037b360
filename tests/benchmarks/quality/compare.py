"""Compares every sampler and pruner on the recorded curves with the plain loop's random search."""

import dataclasses
import multiprocessing
import os
import random
import statistics
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.harness import Options, Result, Target, median
from tests.benchmarks.quality import candidates
from tests.benchmarks.quality.curves import (
    EPOCHS_SMALL,
    KINDS,
    N_SMALL,
    SHIPPED,
    WORKERS,
    Curve,
    Recording,
    check_space,
    imdb_sweep,
)
from tests.benchmarks.quality.replay import Candidate, Cost, ReplayResult, replay_thresholds
from tests.benchmarks.quality.rungs import describe_rungs

N_SEEDS, N_SEEDS_QUICK = 200, 10
N_SEARCH, N_DRAWN_FROM = 40, 60
"""The plain loop's random search: the number of its complete trials, and of the curves from which they are drawn."""
MIN_SPEEDUP = 8.0
PERCENTILES = (75, 90)
"""Of the curves' best values: lower thresholds, which do not depend on one lucky seed as the best value does."""


@dataclass(frozen=True)
class Baseline:
    """The plain loop's random search, complete trials one after another.

    Attributes:
        n_trials: the number of trials of each search.
        seconds: the wall clock of a search, median over the searches.
        threshold: the best value of a search, median over the searches.
        percentiles: the percentiles of the best values of the curves, as `PERCENTILES`.
        curves: the plain loop's seconds with the values from which the threshold is computed.
        own_values: whether these values are the plain loop's own; otherwise they are rnnexp's for the same
            configurations.
        cost: the cost of a trial in addition to its epochs.
    """

    n_trials: int
    seconds: float
    threshold: float
    percentiles: tuple[float, ...]
    curves: tuple[Curve, ...]
    own_values: bool
    cost: Cost

    @property
    def thresholds(self) -> tuple[float, ...]:
        """All thresholds, ascending; the last one is the best value of a search."""
        return (*(min(value, self.threshold) for value in self.percentiles), self.threshold)


def run(options: Options) -> Result:
    """Replays every candidate over the recorded curves."""
    rnnexp, plain, folder = _load_recordings(options)
    epochs = EPOCHS_SMALL if options.quick else imdb_sweep().base.train.epochs
    seeds = range(N_SEEDS_QUICK if options.quick else N_SEEDS)
    curves, plain_curves = common_curves(rnnexp, plain, epochs)
    baseline = compute_baseline(curves, plain_curves, epochs, seeds)
    cost = rnnexp_cost(rnnexp)
    compared = list(candidates.QUICK_CANDIDATES if options.quick else candidates.CANDIDATES)
    if candidates.shipped() not in compared:
        compared.append(candidates.shipped())
    replay_candidate = partial(
        replay_seeds,
        curves=curves,
        epochs=epochs,
        thresholds=baseline.thresholds,
        cost=cost,
        workers=rnnexp.about["workers"],
        seeds=seeds,
    )
    # Not forked: another benchmark may have started TensorFlow in this process.
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        results = list(pool.map(replay_candidate, compared))
    rows = [
        _row(candidates.describe_sampler(candidate), _describe_pruner(candidate), result, baseline)
        for candidate, result in zip(compared, results, strict=True)
    ]
    return Result(
        name="quality",
        title=f"Time to quality: until a study reaches {baseline.threshold:.4f}",
        rows=[*_plain_rows(baseline, epochs, seeds), *rows],
        targets=[_target(compared, results, baseline)],
        notes=_notes(rnnexp, plain, folder, curves, plain_curves, baseline, cost, epochs),
    )


def _load_recordings(options: Options) -> tuple[Recording, Recording, Path]:
    """Returns the recordings of rnnexp and of the plain loop, and their folder; both are of the same machine."""
    own = options.state / "quality"
    if options.quick:
        from tests.benchmarks.quality.record import record

        own /= "small"
        for kind in KINDS:
            record(kind, own, N_SMALL, EPOCHS_SMALL, WORKERS, small=True)
    for folder in (own, SHIPPED):
        if all((folder / f"{kind}.json").exists() for kind in KINDS):
            rnnexp, plain = (Recording.load(folder / f"{kind}.json") for kind in KINDS)
            check_space(rnnexp)
            return rnnexp, plain, folder
    raise FileNotFoundError(
        f"neither {own} nor {SHIPPED} holds rnnexp.json and plain.json; "
        "see `python -m tests.benchmarks.quality.record --help`"
    )


def common_curves(rnnexp: Recording, plain: Recording, epochs: int) -> tuple[list[Curve], list[Curve]]:
    """Returns the curves of rnnexp and of the plain loop for all configurations that both have.

    rnnexp's curves must be complete; those of the plain loop must have seconds.
    """
    pairs = [
        (curve.with_epochs(epochs), other.with_epochs(epochs))
        for curve in rnnexp.curves
        if curve.is_complete(epochs) and (other := plain.find(curve.number, curve.settings)) and other.seconds
    ]
    if len(pairs) < 2:
        raise ValueError(
            f"{len(pairs)} configurations have complete curves of rnnexp and seconds of the plain loop; need at least 2"
        )
    return [curve for curve, _ in pairs], [other for _, other in pairs]


def compute_baseline(curves: Sequence[Curve], plain: Sequence[Curve], epochs: int, seeds: Sequence[int]) -> Baseline:
    """Returns the best value and the wall clock of the plain loop's random search.

    Each seed draws the trials of one search from the recorded configurations, without repetition. If a curve of the
    plain loop is incomplete, rnnexp's values for the same configurations are used for the threshold.

    Args:
        curves: rnnexp's curves.
        plain: the plain loop's curves of the same configurations.
        epochs: the number of epochs of a complete trial.
        seeds: the seeds of the searches.
    """
    own_values = all(curve.is_complete(epochs) for curve in plain)
    valued = [
        dataclasses.replace(curve, val_accuracy=(curve if own_values else other).val_accuracy, failed=other.failed)
        for curve, other in zip(plain, curves, strict=True)
    ]
    n_trials = min(N_SEARCH, len(plain) * N_SEARCH // N_DRAWN_FROM)
    best = [max(curve.val_accuracy, default=0.0) for curve in valued]
    searches = [random.Random(seed).sample(valued, n_trials) for seed in seeds]
    return Baseline(
        n_trials=n_trials,
        seconds=median([sum(sum(curve.seconds) + (curve.beside_s or 0.0) for curve in search) for search in searches]),
        threshold=median([max(max(curve.val_accuracy, default=0.0) for curve in search) for search in searches]),
        percentiles=tuple(float(np.percentile(best, percent)) for percent in PERCENTILES),
        curves=tuple(valued),
        own_values=own_values,
        cost=Cost(0.0, median([curve.beside_s or 0.0 for curve in plain]), "recorded with each curve"),
    )


def rnnexp_cost(recording: Recording) -> Cost:
    """Returns the cost of a study of rnnexp in addition to its epochs.

    Raises:
        ValueError: if the recording does not contain it, because it was interrupted after every trial.
    """
    overheads = [curve.beside_s for curve in recording.curves if curve.beside_s is not None]
    if not overheads or not recording.about.get("start_s"):
        raise ValueError(
            "the recording of rnnexp does not show the cost of a trial outside its epochs; record more configurations"
        )
    return Cost(
        start_s=median(recording.about["start_s"]),
        trial_s=median(overheads),
        source=f"the recording: seconds in a slot from one trial's end to the next trial's end, minus its epochs; "
        f"median of {len(overheads)} trials",
    )


def replay_seeds(
    candidate: Candidate,
    curves: Sequence[Curve],
    epochs: int,
    thresholds: Sequence[float],
    cost: Cost,
    workers: int,
    seeds: Sequence[int],
) -> list[list[ReplayResult]]:
    """Replays one candidate once per seed; returns the results of each threshold."""
    config = imdb_sweep().model_copy(update={"base": imdb_sweep().base.with_settings({"train.epochs": epochs})})
    by_seed = [replay_thresholds(curves, config, candidate, seed, thresholds, cost, workers) for seed in seeds]
    return [list(results) for results in zip(*by_seed, strict=True)]


def _row(
    sampler: str, pruner: str, by_threshold: Sequence[Sequence[ReplayResult]], baseline: Baseline
) -> dict[str, Any]:
    """Returns a line of the table.

    Args:
        sampler: its description.
        pruner: its description.
        by_threshold: the results for each percentile, and last for the best value of a search.
        baseline: the plain loop's search.
    """
    *lower, results = by_threshold
    seconds = [result.seconds for result in results]
    low, middle, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return {
        "sampler": sampler,
        "pruner": pruner,
        "median s": middle,
        "quartiles s": f"{low:.0f} to {high:.0f}",
        "reached by": f"{_share(results):.0%}",
        "trials": median([result.n_trials for result in results]),
        "epochs": median([result.n_epochs for result in results]),
        "plain loop ÷ this": baseline.seconds / middle if _median_is_valid(results) else "–",
    } | {
        f"median s to the {percent}th percentile": _median_text(some)
        for percent, some in zip(PERCENTILES, lower, strict=True)
    }


def _median_text(results: Sequence[ReplayResult]) -> float | str:
    return median([result.seconds for result in results]) if _median_is_valid(results) else "–"


def _share(results: Sequence[ReplayResult]) -> float:
    return sum(result.reached for result in results) / len(results)


def _median_is_valid(results: Sequence[ReplayResult]) -> bool:
    """Tells whether more than half of the studies reach the threshold, so that the median is a time to it."""
    return _share(results) > 0.5


def _plain_rows(baseline: Baseline, epochs: int, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Returns the rows of the plain loop: the whole search, and the search that stops at the threshold."""
    whole = dict.fromkeys(_row("", "", [[ReplayResult(1.0, True, 0, 0, 0.0)] * 2] * 3, baseline), "–") | {
        "sampler": f"plain loop: random, {baseline.n_trials} complete trials",
        "pruner": "none",
        "median s": baseline.seconds,
        "trials": baseline.n_trials,
        "epochs": baseline.n_trials * epochs,
        "plain loop ÷ this": 1.0,
    }
    until_threshold = replay_seeds(
        candidates.CANDIDATES[0], baseline.curves, epochs, baseline.thresholds, baseline.cost, 1, seeds
    )
    return [whole, _row("plain loop: random, until the threshold", "none", until_threshold, baseline)]


def _target(
    compared: Sequence[Candidate], results: Sequence[Sequence[Sequence[ReplayResult]]], baseline: Baseline
) -> Target:
    """Returns the speedup of the shipped sampler and pruner, not that of the best row: picking it would flatter it."""
    shipped = candidates.shipped()
    found = results[list(compared).index(shipped)][-1]
    name, is_valid = f"speedup over the plain loop, {_describe(shipped)}", _median_is_valid(found)
    speedup = baseline.seconds / median([one.seconds for one in found]) if is_valid else 0.0
    missed = "" if is_valid else "half of its studies or more do not reach the threshold"
    return Target(name, speedup, MIN_SPEEDUP, why_missed=missed)


def _describe(candidate: Candidate) -> str:
    return f"{candidates.describe_sampler(candidate)} with {_describe_pruner(candidate)}"


def _describe_pruner(candidate: Candidate) -> str:
    """Returns the pruner; it is marked if the sweep file has this pair of sampler and pruner."""
    mark = f" ({imdb_sweep().study}.yaml)" if candidate == candidates.shipped() else ""
    return candidates.describe_pruner(candidate) + mark


def _notes(
    rnnexp: Recording,
    plain: Recording,
    folder: Path,
    curves: Sequence[Curve],
    plain_curves: Sequence[Curve],
    baseline: Baseline,
    cost: Cost,
    epochs: int,
) -> list[str]:
    return [
        f"Curves: {len(curves)} configurations of {imdb_sweep().study}, {epochs} epochs, recorded in {folder.name}/ on "
        f"{rnnexp.about['machine']} (rnnexp, {rnnexp.about['workers']} concurrent trials) and {plain.about['machine']} "
        "(plain loop, one at a time).",
        _threshold_note(curves, plain_curves, baseline),
        _seconds_note(plain_curves, epochs),
        f"rnnexp outside its epochs: {cost.start_s:.1f} s per start, {cost.trial_s:.2f} s per trial ({cost.source}); "
        "not counted: the plain loop's start, its Optuna and its MLflow.",
        "Lower thresholds, percentiles of the curves' best values: "
        + ", ".join(f"{name}th {value:.4f}" for name, value in zip(PERCENTILES, baseline.percentiles, strict=True))
        + ". The best value of a search is usually that of one curve, recorded with one seed.",
        describe_rungs(curves, epochs),
        "A study that never reaches the threshold counts with its whole time; if half of the studies or more do so, "
        "no ratio is shown.",
    ]


def _threshold_note(curves: Sequence[Curve], plain: Sequence[Curve], baseline: Baseline) -> str:
    text = (
        f"Threshold {baseline.threshold:.4f}: the median over the searches of the best of {baseline.n_trials} complete "
        f"trials drawn from {len(plain)}"
    )
    differences = [
        max(curve.val_accuracy[:n]) - max(other.val_accuracy[:n])
        for curve, other in zip(curves, plain, strict=True)
        if (n := min(len(curve.val_accuracy), len(other.val_accuracy)))
    ]
    comparison = ""
    if differences:
        comparison = (
            f" On the {len(differences)} configurations that both have trained, up to the same epoch, the mean "
            f"difference of the best values, rnnexp minus plain loop, is {statistics.fmean(differences):+.4f}."
        )
    if baseline.own_values:
        return f"{text}, from the plain loop's own curves.{comparison}"
    return (
        f"{text}, from RNNEXP'S curves of the same configurations, because some of the plain loop's are incomplete: a "
        f"harder threshold for rnnexp if its accuracies are higher (`rivals` shows both).{comparison}"
    )


def _seconds_note(plain: Sequence[Curve], epochs: int) -> str:
    scaled = sum(curve.scaled for curve in plain)
    short = sum(not curve.scaled and not curve.is_complete(epochs) for curve in plain)
    return (
        f"The plain loop's seconds: for {len(plain) - scaled - short} configurations every epoch was timed; for "
        f"{short} only the first epochs, and the last of these is used for the others; for {scaled} they are "
        "SCALED from some steps."
    )
