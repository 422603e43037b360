"""The names of the contestants: those in tables and stored lines, and the short ones for `--contestants`."""

from collections.abc import Mapping
from typing import TypeVar

PLAIN, KERAS_TUNER, RAY, RNNEXP = "plain loop", "KerasTuner", "Ray Tune", "rnnexp sweep"
RAY_REUSED = "Ray Tune, workers used again"
PLAIN_BY_LENGTH, PLAIN_WHOLE = "plain loop, batches by length", "plain loop, whole gradients"
"""The names are stored in rivals.jsonl and accuracy.jsonl, so they must not change."""

SHORT = {
    "plain": PLAIN,
    "by-length": PLAIN_BY_LENGTH,
    "whole-gradients": PLAIN_WHOLE,
    "keras-tuner": KERAS_TUNER,
    "ray": RAY,
    "ray-reused": RAY_REUSED,
    "rnnexp": RNNEXP,
}

T = TypeVar("T")


def choose(available: Mapping[str, T], short_names: tuple[str, ...], benchmark: str) -> dict[str, T]:
    """Returns the contestants that `--contestants` names, in the order of the table; all if it names none.

    Args:
        available: every contestant of the benchmark that can run.
        short_names: the names, keys of `SHORT`.
        benchmark: its name, for the message.

    Raises:
        SystemExit: if the benchmark has no such contestant, or if its reference is not among them.
    """
    if not short_names:
        return dict(available)
    unknown = [short for short in short_names if SHORT[short] not in available]
    if unknown:
        known = ", ".join(short for short, name in SHORT.items() if name in available)
        raise SystemExit(f"--contestants: {benchmark} has no {', '.join(unknown)} here; expected some of {known}")
    if "plain" not in short_names:
        raise SystemExit(f"--contestants: add plain; {benchmark} compares the others with it")
    chosen = {SHORT[short] for short in short_names}
    return {name: contestant for name, contestant in available.items() if name in chosen}
