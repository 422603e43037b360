"""Compares samplers and pruners on the recorded curves with the plain loop's random search."""

import multiprocessing
import statistics
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any

from rnnexp.config.sweep import NoPruner, RandomSampler
from tests.benchmarks import machine
from tests.benchmarks.budget import TimeShare
from tests.benchmarks.harness import Options, Result, Target, UnavailableError, median
from tests.benchmarks.quality import candidates
from tests.benchmarks.quality.baseline import Baseline, common_curves, compute_baseline, rnnexp_cost
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
_TARGETS = {"maximum": (0.95, 6.0), "90th percentile": (0.98, 4.0)}
"""Of the shipped sampler and pruner: the share of the studies that reach a threshold, and how many times as fast as the
plain loop."""

Results = Mapping[str, Sequence[ReplayResult]]
"""The results of all seeds, by the name of the threshold."""


def run(options: Options) -> Result:
    """Replays every candidate over the recorded curves."""
    rnnexp, plain, folder = _load_recordings(options)
    epochs = EPOCHS_SMALL if options.quick else imdb_sweep().base.train.epochs
    seeds = range(N_SEEDS_QUICK if options.quick else N_SEEDS)
    curves, plain_curves = common_curves(rnnexp, plain, epochs)
    baseline, cost = compute_baseline(curves, plain_curves, epochs), rnnexp_cost(rnnexp)
    compared = candidates.compared(quick=options.quick)
    replay_plain = partial(
        replay_seeds,
        curves=baseline.curves,
        epochs=epochs,
        thresholds=baseline.thresholds,
        cost=baseline.cost,
        workers=1,
        seeds=seeds,
    )
    replay_rnnexp = partial(replay_plain, curves=curves, cost=cost, workers=rnnexp.about["workers"])
    search = replay_plain(Candidate(RandomSampler(name="random"), NoPruner(name="none"), nearest=False))
    results = _replay_all(compared, replay_rnnexp, options.share)
    rows = [_row("plain loop: random, one at a time", "none", search, search)]
    rows += [
        _row(candidates.describe_sampler(one), candidates.describe_pruner(one), results[one], search)
        for one in compared
        if one in results
    ]
    left_out = [_describe(one) for one in compared if one not in results]
    return Result(
        name="quality",
        title="Time to quality: until a study reaches a value",
        rows=rows,
        targets=make_targets(results[candidates.shipped()], search),
        notes=[
            *_notes(rnnexp, plain, folder, curves, plain_curves, baseline, cost, epochs),
            *([f"left out, because time was up: {'; '.join(left_out)}"] if left_out else []),
        ],
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
    raise UnavailableError(
        f"neither {own} nor {SHIPPED} has rnnexp.json and plain.json; see `python -m tests.benchmarks.quality.record "
        "--help`"
    )


def replay_seeds(
    candidate: Candidate,
    curves: Sequence[Curve],
    epochs: int,
    thresholds: Mapping[str, float],
    cost: Cost,
    workers: int,
    seeds: Sequence[int],
) -> Results:
    """Replays one candidate once per seed; returns the results of each threshold."""
    config = imdb_sweep().model_copy(update={"base": imdb_sweep().base.with_settings({"train.epochs": epochs})})
    values = [*thresholds.values()]
    by_seed = [replay_thresholds(curves, config, candidate, seed, values, cost, workers) for seed in seeds]
    return dict(zip(thresholds, zip(*by_seed, strict=True), strict=True))


def _replay_all(compared: Sequence[Candidate], replay: Any, share: TimeShare) -> dict[Candidate, Results]:
    """Replays candidates on all cores, in order, until the time is up; the first one is always replayed."""
    waiting, running, results = list(compared), dict[Future[Results], Candidate](), dict[Candidate, Results]()
    n_processes, start_s = machine.n_cores(), share.used_s
    # Not forked: another benchmark may have started TensorFlow in this process.
    with ProcessPoolExecutor(n_processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        while waiting or running:
            longest_s = (share.used_s - start_s) / max(1, len(results)) * n_processes
            while waiting and len(running) < n_processes and (not results or share.allows(longest_s)):
                candidate = waiting.pop(0)
                running[pool.submit(replay, candidate)] = candidate
            if not running:
                break
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                results[running.pop(done)] = done.result()
    return results


def _row(sampler: str, pruner: str, results: Results, search: Results) -> dict[str, Any]:
    """Returns a line of the table.

    Args:
        sampler: its description.
        pruner: its description.
        results: the results.
        search: those of the plain loop.
    """
    until_best = results["maximum"]
    return {
        "sampler": sampler,
        "pruner": pruner,
        "trials until the maximum": median([one.n_trials for one in until_best]),
        "epochs": median([one.n_epochs for one in until_best]),
    } | {name: _cell(results[name], search[name]) for name in reversed([*results])}


def _cell(results: Sequence[ReplayResult], search: Sequence[ReplayResult]) -> str:
    """Returns the share of the studies that reach a threshold, their seconds, and how many times as fast they are."""
    low, middle, high = statistics.quantiles([one.seconds for one in results], n=4, method="inclusive")
    if not _median_is_valid(results):
        return f"{reached(results):.1%}, –"
    return f"{reached(results):.1%}, {middle:.0f} s ({low:.0f} to {high:.0f}), {speedup(results, search):.2f}×"


def reached(results: Sequence[ReplayResult]) -> float:
    """Returns the share of the studies that reach the threshold."""
    return sum(result.reached for result in results) / len(results)


def speedup(results: Sequence[ReplayResult], search: Sequence[ReplayResult]) -> float:
    """Returns the ratio of the median times of the plain loop and of the studies; 0 if half of these miss the value."""
    if not _median_is_valid(results):
        return 0.0
    return median([one.seconds for one in search]) / median([one.seconds for one in results])


def _median_is_valid(results: Sequence[ReplayResult]) -> bool:
    """Tells whether more than half of the studies reach the threshold, so that the median is a time to it."""
    return reached(results) > 0.5


def make_targets(results: Results, search: Results) -> list[Target]:
    """Returns the targets of the shipped sampler and pruner, not those of the best row: picking it would flatter it."""
    shipped = _describe(candidates.shipped())
    made = []
    for name, (min_share, min_speedup) in _TARGETS.items():
        ratio = speedup(results[name], search[name])
        missed = "" if ratio else "half of its studies or more do not reach it"
        made.append(Target(f"share of the studies that reach the {name}, {shipped}", reached(results[name]), min_share))
        title = f"times as fast to the {name} as the plain loop, {shipped}"
        made.append(Target(title, ratio, min_speedup, why_missed=missed))
    return made


def _describe(candidate: Candidate) -> str:
    return f"{candidates.describe_sampler(candidate)} with {candidates.describe_pruner(candidate)}"


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
        "A cell has the share of the studies that reach the value, the median seconds with the quartiles, and the "
        "plain loop's median divided by it. A study that never reaches the value counts with its whole time; if half "
        "of the studies or more do so, there is no median.",
        f"rnnexp outside its epochs: {cost.start_s:.1f} s per start, {cost.trial_s:.2f} s per trial ({cost.source}); "
        "not counted: the plain loop's start, its Optuna and its MLflow.",
        describe_rungs(curves, epochs),
    ]


def _threshold_note(curves: Sequence[Curve], plain: Sequence[Curve], baseline: Baseline) -> str:
    values = ", ".join(f"{name} {value:.4f}" for name, value in baseline.thresholds.items())
    text = f"Values to reach, of the curves' best values: {values}"
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
        f"{text}, from RNNEXP'S curves: the plain loop is replayed with its own seconds and with these values, so it "
        f"gains nothing and loses nothing by its accuracy (`rivals` shows both).{comparison}"
    )


def _seconds_note(plain: Sequence[Curve], epochs: int) -> str:
    scaled = sum(curve.scaled for curve in plain)
    short = sum(not curve.scaled and not curve.is_complete(epochs) for curve in plain)
    return (
        f"The plain loop's seconds: for {len(plain) - scaled - short} configurations every epoch was timed; for "
        f"{short} only the first epochs, and the last of these is used for the others; for {scaled} they are "
        "SCALED from some steps."
    )
