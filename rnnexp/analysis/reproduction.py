"""Compares a trial with its repetition: the same to the bit, within noise, or another result."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rnnexp.trial.events import EpochEnded

REPRODUCED, WITHIN_NOISE, DIVERGED = "reproduced", "within noise", "diverged"


@dataclass(frozen=True)
class Reproduction:
    """How the repetition of a trial compares with the recorded trial.

    Attributes:
        verdict: `reproduced`, `within noise` or `diverged`.
        n_epochs: the epochs that were compared.
        first_difference: the first epoch that differs; None if none does.
        recorded: the metric at the best epoch of the record.
        repeated: that of the repetition; None if it has no epoch.
        noise: the difference that noise explains; None if it is unknown.
        whose: whose noise that is.
        causes: what is known to differ.
    """

    verdict: str
    n_epochs: int
    first_difference: int | None
    recorded: float
    repeated: float | None
    noise: float | None
    whose: str
    causes: tuple[str, ...]


def compare(
    recorded: Sequence[EpochEnded],
    repeated: Sequence[EpochEnded],
    metric: str,
    n_texts: int,
    seed_noise: float | None,
    changes: Sequence[str],
    others: Sequence[str],
) -> Reproduction:
    """Compares the epochs of a trial with those of its repetition.

    Args:
        recorded: the trial's epochs.
        repeated: those of the repetition.
        metric: what the study ranks.
        n_texts: validation texts, for the noise of an accuracy.
        seed_noise: the standard deviation of the metric between seeds; None if it is unknown.
        changes: differences of settings and data, which no noise explains.
        others: differences of versions and of the type of machine, which change the last bits.
    """
    pairs = list(zip(recorded, repeated, strict=False))
    first = next((one.epoch for one, other in pairs if one.metrics != other.metrics), None)
    if first is None and len(recorded) != len(repeated):
        first = len(pairs) + 1
    best = recorded[-1].best_value
    if first is None:
        return Reproduction(REPRODUCED, len(pairs), None, best, best, None, "", ())
    again = repeated[-1].best_value if repeated else None
    noise, whose = _noise(best, metric, n_texts, seed_noise)
    is_near = again is not None and noise is not None and abs(again - best) <= noise
    verdict = WITHIN_NOISE if is_near and not changes else DIVERGED
    return Reproduction(verdict, len(pairs), first, best, again, noise, whose, (*changes, *others))


def _noise(value: float, metric: str, n_texts: int, seed_noise: float | None) -> tuple[float | None, str]:
    """Returns two standard deviations of the metric, and where they come from."""
    if seed_noise is not None:
        return 2 * seed_noise, "two standard deviations between the seeds of one configuration in this home"
    if metric == "val_accuracy":
        error = math.sqrt(max(value * (1 - value), 0.0) / n_texts)
        return 2 * error, f"two standard errors of an accuracy on {n_texts:,} validation texts"
    return None, ""


def setting_changes(logged: dict[str, Any], study: dict[str, Any]) -> list[str]:
    """Returns how the logged settings of a trial differ from those that the study gave it."""
    return [
        f"{name}: the study gave {study[name]}, the trial's record has {value}"
        for name, value in logged.items()
        if name in study and study[name] != value
    ]
