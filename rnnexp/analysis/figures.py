"""Figures of studies, drawn with matplotlib, as PNG bytes."""

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rnnexp.storage.importances import Importance
from rnnexp.storage.views import StudyView, TrialRow
from rnnexp.trial.states import State

if TYPE_CHECKING:
    import pandas as pd

_MAX_COLOURED = 8
_MAX_GREY = 200
"""More grey lines show nothing new, and each takes milliseconds to draw."""
_GREY, _BLUE = "#c9c9c9", "#1f5fa8"


def load_library() -> None:
    """Imports matplotlib, and loads its fonts and its writer of PNG files."""
    figure = _figure(1.0, 1.0)
    figure.subplots().set(xlabel="epoch")
    _png(figure)


def _figure(width: float, height: float) -> Any:
    """Returns an empty figure; sizes in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def curves(view: StudyView, frame: "pd.DataFrame") -> bytes:
    """Draws loss and accuracy over the epochs: the best trials in colour, the others in grey.

    If there are many other trials, only a part of them is drawn.

    Args:
        view: the study.
        frame: one row per epoch, as `frames.curves` returns it.

    Returns:
        The figure as PNG.
    """
    from matplotlib import colormaps
    from matplotlib.ticker import MaxNLocator

    figure = _figure(11, 8)
    best = [row.number for row in view.ranked[:_MAX_COLOURED]]
    palette = colormaps["tab10"]
    colours = {number: palette(rank) for rank, number in enumerate(best)}
    metrics = ("loss", "val_loss", "accuracy", "val_accuracy")
    by_trial: dict[Any, pd.DataFrame] = dict(iter(frame.groupby("trial")))
    others = [number for number in by_trial if number not in colours]
    step = math.ceil(len(others) / _MAX_GREY) or 1
    shown = [*others[::step], *(number for number in by_trial if number in colours)]  # the coloured lines on top
    for axes, metric in zip(figure.subplots(2, 2).flat, metrics, strict=True):
        for number in shown:
            rows = by_trial[number]
            colour = colours.get(number, _GREY)
            label = _label(view, number) if number in colours else None
            axes.plot(rows["epoch"], rows[metric], "o-", markersize=3, color=colour, label=label)
        axes.set(xlabel="epoch", ylabel=metric)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
    lines = {str(line.get_label()): line for line in figure.axes[0].get_lines()}
    labels = [_label(view, number) for number in best]
    figure.legend([lines[label] for label in labels], labels, loc="outside lower left", fontsize=8)
    return _png(figure)


def _label(view: StudyView, number: int) -> str:
    """Returns the text of a trial in the legend."""
    row = next(row for row in view.trials if row.number == number)
    settings = ", ".join(
        f"{name.removeprefix('model.').removeprefix('data.').removeprefix('train.')} {_format(value)}"
        for name, value in row.settings.items()
    )
    pruned = " (pruned)" if row.state is State.PRUNED else ""
    return f"trial {number}, {row.value:.3f}{pruned}: {settings}"[:150]


def _format(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def importances(rows: Sequence[Importance]) -> bytes:
    """Draws the importance of each setting as a bar chart, with a line where chance alone ends.

    Args:
        rows: one for each setting, largest first.

    Returns:
        The figure as PNG.
    """
    figure = _figure(7, 0.4 * len(rows) + 1.1)
    axes = figure.subplots()
    upwards = rows[::-1]
    names = [row.setting for row in upwards]
    colours = [_GREY if row.is_noise else _BLUE for row in upwards]
    bars = axes.barh(names, [row.share for row in upwards], color=colours)
    axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=8)
    limits = [row.noise_limit for row in upwards]
    axes.plot(limits, range(len(limits)), "|", color="black", markersize=14, label="by chance, 95% quantile")
    axes.set(xlabel="importance for reaching the best tenth (PED-ANOVA, share of the sum)")
    axes.legend(fontsize=8, loc="lower right")
    axes.margins(x=0.12)
    return _png(figure)


def settings(view: StudyView, rows: Sequence[TrialRow]) -> bytes | None:
    """Draws the objective over each setting, with one point per trial; the points of pruned trials are hollow.

    Args:
        view: the study.
        rows: its trials with a value.

    Returns:
        The figure as PNG; None if there are no trials or no searched settings.
    """
    names = list(dict.fromkeys(name for row in rows for name in row.settings))
    if not names or not rows:
        return None
    n_columns = min(4, len(names))
    n_rows = math.ceil(len(names) / n_columns)
    figure = _figure(3.1 * n_columns, 2.5 * n_rows)
    panels = list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
    for axes, name in zip(panels, names, strict=False):
        shown = [row for row in rows if name in row.settings]
        values = [row.settings[name] for row in shown]
        numbers = [x for x in values if isinstance(x, int | float) and not isinstance(x, bool)]
        numeric = len(numbers) == len(values)
        for pruned, face in ((True, "none"), (False, _BLUE)):
            part = [row for row in shown if (row.state is State.PRUNED) is pruned]
            xs = [row.settings[name] if numeric else str(row.settings[name]) for row in part]
            style = {"markersize": 4, "alpha": 0.7, "color": _BLUE, "markerfacecolor": face}
            if part:
                axes.plot(xs, [row.value for row in part], "o", **style)
        if numeric and min(numbers) > 0 and max(numbers) / min(numbers) > 20:
            axes.set_xscale("log")
        axes.set_title(name, fontsize=9)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.25)
    for axes in panels[len(names) :]:
        axes.remove()
    figure.supylabel(view.metric, fontsize=9)
    return _png(figure)
