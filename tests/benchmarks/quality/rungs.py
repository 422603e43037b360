"""How well the first epochs of a curve tell its end: what a pruner can know when it decides for the first time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from tests.benchmarks.quality.curves import Curve

N_BEST = 10


@dataclass(frozen=True)
class Rung:
    """What the best values until an epoch tell about the final ones.

    Attributes:
        epoch: from 1.
        correlation: Spearman's rank correlation with the final best values.
        n_best_in_top_third: how many of the ten best curves are among the best third at this epoch.
    """

    epoch: int
    correlation: float
    n_best_in_top_third: int


def rungs(curves: Sequence[Curve], epochs: int) -> list[Rung]:
    """Compares the best value until each epoch with the best value of all epochs.

    Args:
        curves: with values of all epochs; those of failed trials are left out.
        epochs: the epochs of a complete trial.
    """
    values = np.array([curve.val_accuracy[:epochs] for curve in curves if len(curve.val_accuracy) >= epochs])
    if len(values) < 3:
        return []
    running = np.maximum.accumulate(values, axis=1)
    best = set(np.argsort(-running[:, -1], kind="stable")[:N_BEST])
    third = len(values) // 3
    return [
        Rung(
            epoch,
            float(stats.spearmanr(running[:, epoch - 1], running[:, -1]).statistic),
            len(best & set(np.argsort(-running[:, epoch - 1], kind="stable")[:third])),
        )
        for epoch in range(1, epochs)
    ]


def describe_rungs(curves: Sequence[Curve], epochs: int) -> str:
    """Returns a line for the notes: the basis on which `min_resource` is chosen."""
    found = rungs(curves, epochs)
    if not found:
        return "Too few complete curves to say how well the first epochs tell the end."
    parts = [f"{one.epoch}: {one.correlation:.2f} ({one.n_best_in_top_third})" for one in found]
    return (
        "Rank correlation of the best value until an epoch with the final one, and how many of the final ten best are "
        f"in the best third at that epoch: {', '.join(parts)}. Compare the rows that differ only in `min_resource`."
    )
