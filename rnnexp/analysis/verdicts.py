"""Sentences that say what a certification has found, for the terminal, the report and MLflow."""

from rnnexp.analysis.certainty import Certainty, Comparison

_POINTS = ("val_accuracy", "accuracy")
"""Metrics whose differences are told in percentage points."""


def difference(value: float, metric: str) -> str:
    """Formats a difference of a metric: `0.8 points`, or `0.0123`."""
    return f"{100 * value:.1f} points" if metric in _POINTS else f"{value:.4f}"


def p_value(value: float) -> str:
    """Formats a p-value."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _bounds(low: float, high: float, metric: str) -> str:
    scale, digits = (100, 1) if metric in _POINTS else (1, 4)
    return f"{scale * low:.{digits}f} to {scale * high:.{digits}f}"


def sentences(found: Certainty, names: tuple[str, ...], metric: str, seconds: tuple[float, ...]) -> list[str]:
    """Returns one sentence for each comparison of the leader.

    Args:
        found: the comparisons.
        names: of the configurations.
        metric: what was compared.
        seconds: the mean training time of each configuration.
    """
    return [_sentence(comparison, names, metric, seconds) for comparison in found.comparisons]


def _sentence(one: Comparison, names: tuple[str, ...], metric: str, seconds: tuple[float, ...]) -> str:
    first, second = names[one.first], names[one.second]
    numbers = f"95%: {_bounds(*one.interval, metric)}; {one.n_seeds} seeds; p {p_value(one.p)}"
    better = f"better on {one.share_better:.0%} of the seeds"
    if one.is_decided:
        return f"{first} beats {second} by {difference(one.difference, metric)} ({numbers}; {better})"
    text = (
        f"{first} and {second} cannot be told apart with {one.n_seeds} seeds: they differ by "
        f"{difference(one.difference, metric)} ({numbers}; {better})"
    )
    if one.detectable is not None:
        text += f"; a difference of {difference(one.detectable, metric)} would have been seen four times of five"
    return text + _cheaper(first, second, seconds[one.first], seconds[one.second])


def _cheaper(first: str, second: str, first_s: float, second_s: float) -> str:
    """Returns which of two takes clearly less time to train, if one does."""
    if not first_s or not second_s or 0.8 < first_s / second_s < 1.25:
        return ""
    name, share = (first, first_s / second_s) if first_s < second_s else (second, second_s / first_s)
    return f"; {name} takes {share:.0%} of the training time"
