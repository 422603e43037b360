"""Every sampler and pruner over the recorded curves, beside the plain loop's random search."""

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

from tests.benchmarks.frame import Options, Result, Target, median
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
    sweep,
)
from tests.benchmarks.quality.replay import Candidate, Cost, Reached, replay

SEEDS, SEEDS_QUICK = 200, 10
FULL_TRIALS, OF = 40, 60
"""The plain loop's random search: so many whole trials, drawn from so many curves."""
BOUND = 8.0


@dataclass(frozen=True)
class Baseline:
    """The plain loop's random search, whole trials one after another.

    Attributes:
        n_trials: of each search.
        seconds: the median search's wall clock.
        threshold: the median search's best value.
        curves: the plain loop's seconds with the values that the threshold is from.
        own: whether those values are the plain loop's own; else they are rnnexp's of the same configurations.
        cost: what a trial costs it beside its epochs.
    """

    n_trials: int
    seconds: float
    threshold: float
    curves: tuple[Curve, ...]
    own: bool
    cost: Cost


def run(options: Options) -> Result:
    """Replays every candidate over the recorded curves."""
    ours, plain, where = _recordings(options)
    epochs = EPOCHS_SMALL if options.quick else sweep().base.train.epochs
    seeds = range(SEEDS_QUICK if options.quick else SEEDS)
    curves, plain_curves = common(ours, plain, epochs)
    found = baseline(curves, plain_curves, epochs, seeds)
    cost = program_cost(ours)
    compared = candidates.FEW if options.quick else candidates.CANDIDATES
    replayed = partial(
        replays,
        curves=curves,
        epochs=epochs,
        threshold=found.threshold,
        cost=cost,
        workers=ours.about["workers"],
        seeds=seeds,
    )
    # Not forked: another benchmark may have started TensorFlow in this process.
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        outcomes = list(pool.map(replayed, compared))
    rows = [
        _row(candidates.sampler_in_words(candidate), _pruner_in_words(candidate), outcome, found)
        for candidate, outcome in zip(compared, outcomes, strict=True)
    ]
    return Result(
        name="quality",
        title=f"Time to quality: until a study has {found.threshold:.4f}",
        rows=[*_plain_rows(found, epochs, seeds), *rows],
        targets=[_target(compared, outcomes, found)],
        notes=_notes(ours, plain, where, curves, plain_curves, found, cost, epochs),
    )


def _recordings(options: Options) -> tuple[Recording, Recording, Path]:
    """Returns rnnexp's recording, the plain loop's, and their folder: both of one machine, for their seconds."""
    own = options.state / "quality"
    if options.quick:
        from tests.benchmarks.quality.record import record

        own /= "small"
        for kind in KINDS:
            record(kind, own, N_SMALL, EPOCHS_SMALL, WORKERS, small=True)
    for folder in (own, SHIPPED):
        if all((folder / f"{kind}.json").exists() for kind in KINDS):
            ours, plain = (Recording.load(folder / f"{kind}.json") for kind in KINDS)
            check_space(ours)
            return ours, plain, folder
    raise FileNotFoundError(
        f"neither {own} nor {SHIPPED} holds rnnexp.json and plain.json; "
        "`python -m tests.benchmarks.quality.record --help` says how to record them"
    )


def common(ours: Recording, plain: Recording, epochs: int) -> tuple[list[Curve], list[Curve]]:
    """Returns the whole curves of rnnexp whose configurations the plain loop has too, and the plain loop's of those."""
    pairs = [
        (curve.first(epochs), other.first(epochs))
        for curve in ours.curves
        if curve.is_whole(epochs) and (other := plain.find(curve.number, curve.settings)) and other.seconds
    ]
    if len(pairs) < 2:
        raise ValueError(f"{len(pairs)} configurations have whole curves of rnnexp and seconds of the plain loop")
    return [curve for curve, _ in pairs], [other for _, other in pairs]


def baseline(curves: Sequence[Curve], plain: Sequence[Curve], epochs: int, seeds: Sequence[int]) -> Baseline:
    """Returns what the plain loop's random search has at its end, and what it took.

    Each seed draws the search's trials, none twice, from the recorded configurations. Where the plain loop's whole
    curves are not all there, rnnexp's values of the same configurations are taken for the threshold.

    Args:
        curves: rnnexp's.
        plain: the plain loop's, of the same configurations.
        epochs: of a whole trial.
        seeds: a search each.
    """
    own = all(curve.is_whole(epochs) for curve in plain)
    valued = [
        dataclasses.replace(curve, val_accuracy=(curve if own else other).val_accuracy, failed=other.failed)
        for curve, other in zip(plain, curves, strict=True)
    ]
    n_trials = min(FULL_TRIALS, len(plain) * FULL_TRIALS // OF)
    searches = [random.Random(seed).sample(valued, n_trials) for seed in seeds]
    return Baseline(
        n_trials=n_trials,
        seconds=median([sum(sum(curve.seconds) + (curve.beside_s or 0.0) for curve in search) for search in searches]),
        threshold=median([max(max(curve.val_accuracy, default=0.0) for curve in search) for search in searches]),
        curves=tuple(valued),
        own=own,
        cost=Cost(0.0, median([curve.beside_s or 0.0 for curve in plain]), "recorded with each curve"),
    )


def program_cost(ours: Recording) -> Cost:
    """Returns what a study of rnnexp costs beside its epochs, as its recording has it.

    Raises:
        ValueError: where it does not: a recording that was interrupted after every trial.
    """
    beside = [curve.beside_s for curve in ours.curves if curve.beside_s is not None]
    if not beside or not ours.about.get("start_s"):
        raise ValueError("rnnexp's recording does not tell what a trial costs beside its epochs; record more of them")
    return Cost(
        start_s=median(ours.about["start_s"]),
        trial_s=median(beside),
        source=f"the recording: a slot's seconds from one trial's end to the next one's, less its epochs; "
        f"median of {len(beside)} trials",
    )


def replays(
    candidate: Candidate,
    curves: Sequence[Curve],
    epochs: int,
    threshold: float,
    cost: Cost,
    workers: int,
    seeds: Sequence[int],
) -> list[Reached]:
    """Replays one candidate with every seed."""
    config = sweep().model_copy(update={"base": sweep().base.with_settings({"train.epochs": epochs})})
    return [replay(curves, config, candidate, seed, threshold, cost, workers) for seed in seeds]


def _row(sampler: str, pruner: str, outcomes: Sequence[Reached], found: Baseline) -> dict[str, Any]:
    seconds = [outcome.seconds for outcome in outcomes]
    low, middle, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return {
        "sampler": sampler,
        "pruner": pruner,
        "median s": middle,
        "quartiles s": f"{low:.0f} to {high:.0f}",
        "reached by": f"{_share(outcomes):.0%}",
        "trials": median([outcome.n_trials for outcome in outcomes]),
        "epochs": median([outcome.n_epochs for outcome in outcomes]),
        "plain loop ÷ this": found.seconds / middle if _counts(outcomes) else "–",
    }


def _share(outcomes: Sequence[Reached]) -> float:
    return sum(outcome.reached for outcome in outcomes) / len(outcomes)


def _counts(outcomes: Sequence[Reached]) -> bool:
    """Tells whether the median is a time to the threshold, and not the end of studies that never had it."""
    return _share(outcomes) > 0.5


def _plain_rows(found: Baseline, epochs: int, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Returns the plain loop's whole search, and its own time to the threshold: what the definition alone is worth."""
    whole = dict.fromkeys(_row("", "", [Reached(1.0, True, 0, 0, 0.0)] * 2, found), "–") | {
        "sampler": f"plain loop: random, {found.n_trials} whole trials",
        "pruner": "none",
        "median s": found.seconds,
        "trials": found.n_trials,
        "epochs": found.n_trials * epochs,
        "plain loop ÷ this": 1.0,
    }
    alone = replays(candidates.CANDIDATES[0], found.curves, epochs, found.threshold, found.cost, 1, seeds)
    return [whole, _row("plain loop: random, until it has it", "none", alone, found)]


def _target(compared: Sequence[Candidate], outcomes: Sequence[Sequence[Reached]], found: Baseline) -> Target:
    """Returns the best candidate of those that reach the threshold more often than not."""
    ratios = {
        place: found.seconds / median([one.seconds for one in outcome])
        for place, outcome in enumerate(outcomes)
        if _counts(outcome) and not candidates.is_control(compared[place])
    }
    best = max(ratios, key=ratios.__getitem__, default=None)
    return Target(
        "the plain loop's wall clock over that of " + (_words(compared[best]) if best is not None else "any candidate"),
        ratios[best] if best is not None else 0.0,
        BOUND,
        why_missed="" if best is not None else "no candidate reaches the threshold in more than half of its studies",
    )


def _words(candidate: Candidate) -> str:
    return f"{candidates.sampler_in_words(candidate)} with {_pruner_in_words(candidate)}"


def _pruner_in_words(candidate: Candidate) -> str:
    """Returns the pruner, marked where the sweep file has this pair."""
    unseeded = sweep().sampler.model_copy(update={"seed": 0})
    own = (candidate.sampler, candidate.pruner) == (unseeded, sweep().pruner)
    return candidates.pruner_in_words(candidate) + (f" ({sweep().study}.yaml)" if own else "")


def _notes(
    ours: Recording,
    plain: Recording,
    where: Path,
    curves: Sequence[Curve],
    plain_curves: Sequence[Curve],
    found: Baseline,
    cost: Cost,
    epochs: int,
) -> list[str]:
    return [
        f"Curves: {len(curves)} configurations of {sweep().study}, {epochs} epochs, recorded in {where.name}/ on "
        f"{ours.about['machine']} (rnnexp, {ours.about['workers']} trials at once) and {plain.about['machine']} "
        "(plain loop, one at a time).",
        _threshold_note(curves, plain_curves, found),
        _seconds_note(plain_curves, epochs),
        f"rnnexp beside its epochs: {cost.start_s:.1f} s a start, {cost.trial_s:.2f} s a trial ({cost.source}). "
        "The plain loop's start, its Optuna and its MLflow are not counted.",
        "A study that never has the threshold counts with all its seconds; where most do, there is no ratio.",
    ]


def _threshold_note(curves: Sequence[Curve], plain: Sequence[Curve], found: Baseline) -> str:
    said = f"Threshold {found.threshold:.4f}: the median best of {found.n_trials} whole trials drawn from {len(plain)}"
    both = [
        max(curve.val_accuracy[:n]) - max(other.val_accuracy[:n])
        for curve, other in zip(curves, plain, strict=True)
        if (n := min(len(curve.val_accuracy), len(other.val_accuracy)))
    ]
    apart = ""
    if both:
        apart = (
            f" On {len(both)} configurations that both have trained, to the same epoch, rnnexp's best is "
            f"{statistics.fmean(both):+.4f} higher on average."
        )
    if found.own:
        return f"{said}, by the plain loop's own curves.{apart}"
    return (
        f"{said}, by RNNEXP'S curves of the same configurations, for the plain loop's are not all recorded whole: a "
        f"harder threshold for rnnexp wherever its accuracies are the higher ones (benchmark 1 shows both).{apart}"
    )


def _seconds_note(plain: Sequence[Curve], epochs: int) -> str:
    scaled = sum(curve.scaled for curve in plain)
    short = sum(not curve.scaled and not curve.is_whole(epochs) for curve in plain)
    return (
        f"The plain loop's seconds: of {len(plain) - scaled - short} configurations every epoch was timed; of {short} "
        f"the first epochs, the last of which stands for the later ones; of {scaled} they are SCALED from some steps."
    )
