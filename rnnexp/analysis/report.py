"""Writes reports of studies: one self-contained HTML page, or a CSV table."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnnexp.analysis import explanations, figures, frames
from rnnexp.home import Home
from rnnexp.storage.importances import importances
from rnnexp.storage.views import StudyView, TrialRow
from rnnexp.trial.states import FINISHED, State

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-size: 13px; margin: .5rem 0 1.5rem; display: block; overflow-x: auto; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap; }
th { border-bottom: 2px solid #888; }
td.text { text-align: left; }
img { max-width: 100%; }
.PRUNED { color: #9a6b00; } .FAIL { color: #b00020; } .warn { color: #b00020; }
"""

_PRUNED_NOTE = (
    " The value of a pruned trial is its best before it was stopped, and its rank is not final: more epochs could have "
    "moved it up, so it says little about its settings. Its points are hollow."
)


def load_libraries() -> None:
    """Imports the libraries of the reports, and loads what matplotlib needs for its first figure."""
    frames.load_library()
    figures.load_library()


def write_csv(views: Sequence[StudyView], path: Path) -> None:
    """Writes a CSV table with one row per trial."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frames.trials(views).to_csv(path, index=False)


def write_html(home: Home, views: Sequence[StudyView], path: Path) -> None:
    """Writes the HTML report: for each study its ranked trials, curves, settings and importances."""
    title = " and ".join(view.name for view in views)
    parts = [f"<h1>{html.escape(title)}</h1>"]
    if len(views) > 1:
        reasons = frames.reasons_not_comparable(views)
        if reasons:
            text = f"The values of these studies are not comparable: {'; '.join(reasons)}"
            parts.append(f'<p class="warn">{html.escape(text)}</p>')
    for view in views:
        parts += _study_section(home, view)
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style><body>{''.join(parts)}</body></html>"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def _study_section(home: Home, view: StudyView) -> list[str]:
    data_name = view.definition.get("base", {}).get("data.name")
    parts = [
        f"<h2>{html.escape(view.name)}</h2>",
        f"<p>Objective: {html.escape(view.metric)} at each trial's best epoch, {view.direction}d. Data set: "
        f"{html.escape(str(data_name))}. Trials: {view.count(State.COMPLETE)} complete, {view.count(State.PRUNED)} "
        f"pruned, {view.count(State.FAIL)} failed.{_PRUNED_NOTE * (view.count(State.PRUNED) > 0)}</p>",
        _table(view),
    ]
    curves = frames.curves(view)
    if not curves.empty:
        parts += ["<h3>Curves</h3>", _image(figures.curves(view, curves), "loss and accuracy over the epochs")]
    scatter = figures.settings(view, view.ranked)
    if scatter is not None:
        parts += ["<h3>Settings</h3>", _image(scatter, f"{view.metric} over each setting")]
    found = importances(home, view.name)
    parts += ["<h3>Importances</h3>", f"<p>{html.escape(explanations.describe(found))}</p>"]
    if found.rows:
        parts.append(_image(figures.importances(found.rows), "importance of each setting, beside chance"))
    return parts


def _table(view: StudyView) -> str:
    rows = view.ranked + [row for row in view.trials if row.value is None and row.state in FINISHED]
    names = list(dict.fromkeys(name for row in rows for name in row.settings))
    headings = ["trial", "state", view.metric, "best epoch", *names, "time, s", "reason"]
    head = "".join(f"<th>{html.escape(heading)}</th>" for heading in headings)
    body = "".join(f"<tr>{_cells(row, names)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _cells(row: TrialRow, names: list[str]) -> str:
    value = "–" if row.value is None else f"{row.value:.4f}"
    if row.value is not None and row.state is State.PRUNED:
        value += f" at epoch {row.best_epoch}, pruned"
    values: list[Any] = [value, row.best_epoch or "–", *(row.settings.get(name, "–") for name in names)]
    cells = [f"<td>{row.number}</td>", f'<td class="text {row.state}">{row.state}</td>']
    cells += [f"<td>{html.escape(f'{cell:.4g}' if isinstance(cell, float) else str(cell))}</td>" for cell in values]
    cells += [f"<td>{row.duration_s:.1f}</td>", f'<td class="text">{html.escape(row.reason or "")}</td>']
    return "".join(cells)


def _image(png: bytes, alt_text: str) -> str:
    return f'<img alt="{html.escape(alt_text)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
