"""Studies and trials as tables."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from rnnexp.config.formatting import setting_value
from rnnexp.config.names import COSTS
from rnnexp.storage.importances import Importances
from rnnexp.storage.views import StudyView, TrialRow
from rnnexp.terminal.escapes import visible_lines
from rnnexp.trial.events import EpochEnded
from rnnexp.trial.states import State

if TYPE_CHECKING:
    from rnnexp.storage.trial_values import TrialRequest

_STYLES = {
    State.COMPLETE: "green",
    State.PRUNED: "yellow",
    State.FAIL: "red",
    State.RUNNING: "cyan",
    State.WAITING: "magenta",
}


_PIPE_WIDTH = 220
"""Wide enough for a table of many settings in a file or pipe."""

PLACE_NOTE = (
    "front: no other trial is at least as good in each objective and better in one; outside: a constraint is violated, "
    "such trials rank last"
)
PRUNED_NOTE = (
    "A pruned trial was stopped early: its value is the best until then, and its rank is not final. More epochs could "
    "have moved it up, so it says little about its settings."
)


class _SafeConsole(Console):
    """Prints strings, also those in the cells of tables, without the characters that control the terminal."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(visible_lines(text), **options)


def console() -> Console:
    """Returns the console, without markup: a `[` in a text is printed as it is."""
    plain = _SafeConsole(highlight=False, markup=False)
    return plain if plain.is_terminal else _SafeConsole(highlight=False, markup=False, width=_PIPE_WIDTH)


def number(value: float | None, digits: int = 4) -> str:
    """Formats a metric, None as a dash; a very large one, such as the norm of exploding gradients, with an exponent."""
    if value is None:
        return "–"
    return f"{value:.{digits}f}" if abs(value) < 1e6 else f"{value:.3g}"


def result(row: TrialRow) -> str:
    """Formats a trial's value with its epoch: `0.8800 at epoch 5`, or `0.7740 at epoch 2, pruned`."""
    pruned = ", pruned" if row.state is State.PRUNED and row.value is not None else ""
    return f"{number(row.value)} at epoch {row.best_epoch or '–'}{pruned}"


def objective(row: TrialRow | None) -> str:
    """Formats a trial's value; that of a pruned trial with its epoch, because more epochs could have changed it."""
    if row is None or row.value is None:
        return number(None)
    return result(row) if row.state is State.PRUNED else number(row.value)


def count(n: int, word: str) -> str:
    """Returns a number with its noun: 1 trial, 2 trials."""
    return f"{n:,} {word}{'s' * (n != 1)}"


def duration(seconds: float | None) -> str:
    """Formats seconds as 43 s, 12 min 5 s or 2 h 10 min, None as a dash."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def cost(metric: str, value: float | None) -> str:
    """Formats a metric or a cost by its name."""
    if value is None or metric not in COSTS:
        return number(value)
    if metric == "train_seconds":
        return duration(value)
    return f"{value:,.0f}" if metric == "n_params" else f"{value:.3g}"


def heading(setting: str) -> str:
    """Returns a setting's name without its section, except where it is unclear: those of `clip`, and `data.seed`."""
    section, _, name = setting.partition(".")
    return setting if section == "clip" or setting == "data.seed" else name


def setting_columns(rows: Sequence[TrialRow]) -> list[str]:
    """Returns the settings that occur in any trial, in order of first appearance."""
    return list(dict.fromkeys(name for row in rows for name in row.settings))


def trials(
    view: StudyView, rows: Sequence[TrialRow], *, rank: bool, expected: Mapping[int, float] | None = None
) -> Table:
    """Builds a table of trials.

    Args:
        view: the study of the trials.
        rows: the trials, in the order to show.
        rank: whether to add a first column with the rank.
        expected: what the trials are expected to score when they are trained again, by number.
    """
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    if rank:
        table.add_column("rank", justify="right")
    table.add_column("trial", justify="right")
    table.add_column("state")
    has_pruned = any(row.state is State.PRUNED for row in rows)
    table.add_column(view.metric, justify="left" if has_pruned else "right", style="bold")
    if expected:
        table.add_column("retrained", justify="right")
    further = view.ranking.metrics[1:]
    for metric in further:
        table.add_column(metric, justify="right", style="bold")
    if view.ranking.has_places:
        table.add_column("place")
    table.add_column("best epoch", justify="right")
    columns = setting_columns(rows)
    for name in columns:
        table.add_column(heading(name), justify="right")
    table.add_column("time", justify="right")
    has_reasons = any(row.reason for row in rows)
    if has_reasons:
        table.add_column("reason", overflow="fold")
    for position, row in enumerate(rows, start=1):
        cells: list[str | Text] = [str(position)] if rank else []
        cells += [
            str(row.number),
            Text(row.state, style=_STYLES[row.state]),
            objective(row),
            *([number(expected.get(row.number))] if expected else []),
            *(cost(metric, value) for metric, value in view.further_values(row).items()),
            *([view.place(row)] if view.ranking.has_places else []),
            str(row.best_epoch or "–"),
        ]
        cells += [setting_value(row.settings[name]) if name in row.settings else "–" for name in columns]
        cells.append(duration(row.duration_s))
        table.add_row(*cells, *([row.reason or ""] if has_reasons else []))
    return table


def samples(drawn: Sequence["TrialRequest"], seconds: Sequence[float]) -> Table:
    """Builds a table of sample trials with the expected time of each."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    names = list(dict.fromkeys(name for sample in drawn for name in sample.settings))
    for column in ("trial", *(heading(name) for name in names), "expected time"):
        table.add_column(column, justify="right")
    for sample, expected_s in zip(drawn, seconds, strict=False):
        cells = [setting_value(sample.settings[name]) if name in sample.settings else "–" for name in names]
        table.add_row(str(sample.number), *cells, duration(expected_s))
    return table


def studies(views: Sequence[StudyView]) -> Table:
    """Builds a table of studies."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("study", "finished", "complete", "pruned", "failed", "objective", "best", "best trial", "running"):
        left = column in ("study", "objective", "running")
        table.add_column(column, justify="left" if left else "right")
    for view in views:
        best = view.best
        table.add_row(
            view.name,
            f"{view.n_finished}/{view.n_trials or '?'}",
            *(str(view.count(state)) for state in (State.COMPLETE, State.PRUNED, State.FAIL)),
            view.metric,
            objective(best),
            str(best.number) if best else "–",
            str(view.owner) if view.owner else "–",
        )
    return table


def pairs(rows: Sequence[tuple[str, str]]) -> Table:
    """Builds a table of names and values."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    return table


def grid(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Builds a table of plain cells; the first column is on the left."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left")
    for row in rows:
        table.add_row(*row)
    return table


def curve(epochs: Sequence[EpochEnded]) -> Table:
    """Builds a table of a trial's curve, one row per epoch; the best epoch is marked."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    names = list(epochs[0].metrics)
    for column in ("epoch", *names, "time", ""):
        table.add_column(column, justify="right")
    best = epochs[-1].best_epoch
    for epoch in epochs:
        cells = [number(epoch.metrics[name]) for name in names]
        table.add_row(str(epoch.epoch), *cells, duration(epoch.seconds), "best" if epoch.epoch == best else "")
    return table


def best_of(views: Sequence[StudyView]) -> Table:
    """Builds a table of each study's best trial, one row per study."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("study", "trials", "best trial", "metric", "value"):
        table.add_column(column, justify="left" if column in ("study", "metric") else "right")
    for view in views:
        best = view.best
        table.add_row(
            view.name,
            str(view.n_finished),
            str(best.number) if best else "–",
            view.metric,
            objective(best),
        )
    return table


def importances(found: Importances) -> Table:
    """Builds a table of the settings by importance, beside what chance alone shows."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("setting", "importance", "by chance", "by chance, 95%", ""):
        table.add_column(column, justify="left" if column in ("setting", "") else "right")
    for row in found.rows:
        cells = [f"{value:.2f}" for value in (row.share, row.noise_median, row.noise_limit)]
        table.add_row(row.setting, *cells, "not distinguishable from chance" if row.is_noise else "")
    return table
