"""The thresholds, the plain loop's time to each of them, and what the two programs cost outside their epochs."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tests.benchmarks.harness import UnavailableError, median
from tests.benchmarks.quality.curves import Curve, Recording
from tests.benchmarks.quality.replay import Cost

PERCENTILES = {"75th percentile": 75, "90th percentile": 90, "maximum": 100}
"""Of the curves' best values, ascending. The maximum is one curve, recorded with one seed."""


@dataclass(frozen=True)
class Baseline:
    """What the studies are compared with.

    Attributes:
        thresholds: the values to reach, ascending, by name, as `PERCENTILES`.
        curves: the plain loop's seconds with the values from which the thresholds are computed.
        own_values: whether these values are the plain loop's own; otherwise they are rnnexp's for the same
            configurations.
        cost: the cost of a trial of the plain loop in addition to its epochs.
    """

    thresholds: Mapping[str, float]
    curves: tuple[Curve, ...]
    own_values: bool
    cost: Cost


def common_curves(rnnexp: Recording, plain: Recording, epochs: int) -> tuple[list[Curve], list[Curve]]:
    """Returns the curves of rnnexp and of the plain loop for all configurations that both have.

    rnnexp's curves must be complete; those of the plain loop must have seconds.

    Raises:
        UnavailableError: if fewer than two configurations are left.
    """
    pairs = [
        (curve.with_epochs(epochs), other.with_epochs(epochs))
        for curve in rnnexp.curves
        if curve.is_complete(epochs) and (other := plain.find(curve.number, curve.settings)) and other.seconds
    ]
    if len(pairs) < 2:
        raise UnavailableError(
            f"{len(pairs)} configurations have complete curves of rnnexp and seconds of the plain loop; need at least 2"
        )
    return [curve for curve, _ in pairs], [other for _, other in pairs]


def compute_baseline(curves: Sequence[Curve], plain: Sequence[Curve], epochs: int) -> Baseline:
    """Returns the thresholds, and the plain loop's curves with values.

    If a curve of the plain loop is incomplete, rnnexp's values for the same configurations are used for all.

    Args:
        curves: rnnexp's curves.
        plain: the plain loop's curves of the same configurations.
        epochs: the number of epochs of a complete trial.
    """
    own_values = all(curve.is_complete(epochs) for curve in plain)
    valued = [
        dataclasses.replace(curve, val_accuracy=(curve if own_values else other).val_accuracy, failed=other.failed)
        for curve, other in zip(plain, curves, strict=True)
    ]
    best = [max(curve.val_accuracy, default=0.0) for curve in valued]
    return Baseline(
        thresholds={name: float(np.percentile(best, percent)) for name, percent in PERCENTILES.items()},
        curves=tuple(valued),
        own_values=own_values,
        cost=Cost(0.0, median([curve.beside_s or 0.0 for curve in plain]), "recorded with each curve"),
    )


def rnnexp_cost(recording: Recording) -> Cost:
    """Returns the cost of a study of rnnexp in addition to its epochs.

    Raises:
        UnavailableError: if the recording does not contain it, because it was interrupted after every trial.
    """
    overheads = [curve.beside_s for curve in recording.curves if curve.beside_s is not None]
    if not overheads or not recording.about.get("start_s"):
        raise UnavailableError(
            "the recording of rnnexp does not show the cost of a trial outside its epochs; record more configurations"
        )
    return Cost(
        start_s=median(recording.about["start_s"]),
        trial_s=median(overheads),
        source=f"the recording: seconds in a slot from one trial's end to the next trial's end, minus its epochs; "
        f"median of {len(overheads)} trials",
    )
