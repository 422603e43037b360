"""Shows a running study: a live display in a terminal, plain lines elsewhere."""

import time
from dataclasses import dataclass
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rnnexp.config.formatting import setting_value
from rnnexp.study.progress import ProgressSnapshot
from rnnexp.terminal.escapes import visible
from rnnexp.terminal.json_lines import JsonWatch
from rnnexp.terminal.tables import duration, heading, number
from rnnexp.trial.events import EpochEnded
from rnnexp.trial.states import State


@dataclass
class _TrialLine:
    settings: str
    n_epochs: int
    last_epoch: EpochEnded | None = None


def _settings(settings: dict[str, Any]) -> str:
    return " ".join(f"{heading(name)}={setting_value(value)}" for name, value in settings.items())


class PlainWatch:
    """A `ProgressReporter` that prints one line per event, for logs and pipes."""

    def __init__(self, console: Console, metric: str) -> None:
        self._console = console
        self._metric = metric
        self._n_epochs: dict[int, int] = {}

    def __enter__(self) -> "PlainWatch":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the display; what is printed later follows it."""

    def _print(self, line: str) -> None:
        self._console.print(Text(visible(line)), soft_wrap=True)

    def started(self, number: int, settings: dict[str, Any], attempt: int, from_epoch: int, epochs: int) -> None:
        self._n_epochs[number] = epochs
        resumed = f" (attempt {attempt}, after epoch {from_epoch})" if attempt > 1 else ""
        self._print(f"trial {number} started{resumed}{f': {_settings(settings)}' if settings else ''}")

    def epoch_ended(self, number_: int, event: EpochEnded) -> None:
        metrics = " ".join(f"{name} {event.metrics[name]:.4f}" for name in ("loss", "val_loss", "val_accuracy"))
        best = f"best {self._metric} {event.best_value:.4f} at epoch {event.best_epoch}"
        self._print(f"trial {number_} epoch {event.epoch}/{self._n_epochs.get(number_, '?')}: {metrics} ({best})")

    def ended(self, number_: int, state: State, value: float | None, reason: str) -> None:
        result = f" {self._metric} {number(value)}" if value is not None else ""
        self._print(f"trial {number_} {state}{result}{f': {reason}' if reason else ''}")

    def note(self, line: str) -> None:
        self._print(line)

    def tick(self, snapshot: ProgressSnapshot) -> None:
        return


class LiveWatch:
    """A `ProgressReporter` that updates a few lines at the bottom of the terminal."""

    def __init__(self, console: Console, metric: str, study: str) -> None:
        self._console, self._metric, self._study = console, metric, study
        self._lines: dict[int, _TrialLine] = {}
        self._snapshot: ProgressSnapshot | None = None
        self._started_at = time.monotonic()
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> "LiveWatch":
        self._live.start()
        self._live.update(self._render(), refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the display; what is printed later follows it."""
        self._live.stop()

    def started(self, number: int, settings: dict[str, Any], attempt: int, from_epoch: int, epochs: int) -> None:
        self._lines[number] = _TrialLine(_settings(settings), epochs)

    def epoch_ended(self, number_: int, event: EpochEnded) -> None:
        if number_ in self._lines:
            self._lines[number_].last_epoch = event

    def ended(self, number_: int, state: State, value: float | None, reason: str) -> None:
        line = self._lines.pop(number_, None)
        result = f"{self._metric} {number(value)}" if value is not None else ""
        parts = [f"trial {number_}", f"{state:<8}", result, line.settings if line else "", reason]
        self._console.print(Text(visible("  ".join(part for part in parts if part))))

    def note(self, line: str) -> None:
        self._console.print(Text(visible(line)))

    def tick(self, snapshot: ProgressSnapshot) -> None:
        self._snapshot = snapshot
        self._live.update(self._render(), refresh=True)

    def _render(self) -> Group:
        table = Table(box=None, pad_edge=False, header_style="dim")
        for column in ("trial", "epoch", "loss", "val_loss", "val_accuracy", "best so far", "settings"):
            table.add_column(column, justify="left" if column == "settings" else "right", no_wrap=True)
        for number_, line in sorted(self._lines.items()):
            epoch = line.last_epoch
            metrics = epoch.metrics if epoch else {}
            table.add_row(
                str(number_),
                f"{epoch.epoch if epoch else 0}/{line.n_epochs}",
                *(number(metrics.get(name)) for name in ("loss", "val_loss", "val_accuracy")),
                f"{epoch.best_value:.4f} (epoch {epoch.best_epoch})" if epoch else "–",
                line.settings,
            )
        return Group(self._header(), table) if self._lines else Group(self._header())

    def _header(self) -> Text:
        elapsed = duration(time.monotonic() - self._started_at)
        snapshot = self._snapshot
        if snapshot is None:
            return Text(f"{self._study}: starting TensorFlow")
        done = (snapshot.n_finished + snapshot.n_paused) / max(1, snapshot.n_trials)
        bar = "━" * round(24 * done) + "╌" * (24 - round(24 * done))
        paused = f", {snapshot.n_paused} paused" if snapshot.n_paused else ""
        parts = [f"{self._study} {bar} {snapshot.n_finished}/{snapshot.n_trials} trials{paused}", elapsed]
        if snapshot.seconds_left is not None:
            parts.append(f"about {duration(snapshot.seconds_left)} left")
        if snapshot.best_value is not None:
            parts.append(f"best {self._metric} {snapshot.best_value:.4f} (trial {snapshot.best_number})")
        return Text(" · ".join(parts), style="bold")


Watch = PlainWatch | LiveWatch | JsonWatch


def watch(console: Console, metric: str, study: str) -> Watch:
    """Returns a live display for a terminal, else one that prints lines."""
    return LiveWatch(console, metric, study) if console.is_terminal else PlainWatch(console, metric)
