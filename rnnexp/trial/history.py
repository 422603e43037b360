"""Writes a trial's learning curve for readers: `history.csv` and `curves.png`, both from its events."""

import csv
import io
from pathlib import Path

from rnnexp import disk
from rnnexp.home import TrialFolder
from rnnexp.trial import events
from rnnexp.trial.events import EpochEnded


def write(folder: TrialFolder, title: str) -> None:
    """Writes both files, unless they are up to date. Does nothing for a trial without an epoch."""
    curve = events.epochs(events.read(folder.events))
    if not curve:
        return
    history = _history(curve)
    if folder.curves.exists() and folder.history.exists() and folder.history.read_text(encoding="utf-8") == history:
        return
    _curves(folder.curves, curve, title)
    disk.write_text(folder.history, history)


def _history(curve: list[EpochEnded]) -> str:
    names = list(curve[0].metrics)
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["epoch", *names, "seconds"])
    for epoch in curve:
        writer.writerow([epoch.epoch, *(repr(epoch.metrics[name]) for name in names), f"{epoch.seconds:.3f}"])
    return table.getvalue()


def _curves(path: Path, curve: list[EpochEnded], title: str) -> None:
    """Draws loss and accuracy by epoch for training and validation, and marks the best epoch."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    # Fixed margins: automatic layout draws everything twice, and every trial waits for this figure.
    figure = Figure(figsize=(9, 3.6))
    figure.subplots_adjust(left=0.08, right=0.985, bottom=0.14, top=0.89, wspace=0.22)
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=10)
    epochs = [epoch.epoch for epoch in curve]
    best = curve[-1].best_epoch
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        axes.plot(epochs, [epoch.metrics[name] for epoch in curve], "o--", color="#7a7a7a", label="training")
        axes.plot(epochs, [epoch.metrics[f"val_{name}"] for epoch in curve], "o-", color="#1f5fa8", label="validation")
        axes.axvline(best, color="#c8641e", linewidth=1, linestyle=":", label=f"best epoch ({best})")
        axes.set(xlabel="epoch", ylabel=name)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8)
    with disk.replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)
