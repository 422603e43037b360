"""Studies compared in one page that needs nothing else, and as a table for other programs."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnnexp.analysis import frames, pictures
from rnnexp.home import Home
from rnnexp.storage.views import StudyView, TrialRow, importances
from rnnexp.trial.states import FINISHED, State

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; font-size: 13px; margin: .5rem 0 1.5rem; display: block; overflow-x: auto; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap; }
th { border-bottom: 2px solid #888; }
td.word { text-align: left; }
img { max-width: 100%; }
.PRUNED { color: #9a6b00; } .FAIL { color: #b00020; } .warn { color: #b00020; }
"""


def write_csv(views: Sequence[StudyView], path: Path) -> None:
    """Writes a row a trial."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frames.trials(views).to_csv(path, index=False)


def write_html(home: Home, views: Sequence[StudyView], path: Path) -> None:
    """Writes the report: for each study its ranking, curves, settings and importances."""
    title = " and ".join(view.name for view in views)
    parts = [f"<h1>{html.escape(title)}</h1>"]
    if len(views) > 1:
        reasons = frames.incomparable(views)
        parts += (
            [f'<p class="warn">Not to be ranked together: {html.escape("; ".join(reasons))}</p>'] if reasons else []
        )
    for view in views:
        parts += _study(home, view)
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style><body>{''.join(parts)}</body></html>"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def _study(home: Home, view: StudyView) -> list[str]:
    data = view.definition.get("base", {})
    parts = [
        f"<h2>{html.escape(view.name)}</h2>",
        f"<p>{html.escape(view.metric)}, {view.direction}d, at each trial's best epoch; data "
        f"{html.escape(str(data.get('data.name')))}; {view.count(State.COMPLETE)} trials complete, "
        f"{view.count(State.PRUNED)} pruned, {view.count(State.FAIL)} failed. A pruned trial's value is the best "
        "that it reached before it was stopped.</p>",
        _table(view),
    ]
    curves = frames.curves(home, view)
    if not curves.empty:
        parts += ["<h3>Curves</h3>", _image(pictures.curves(view, curves), "loss and accuracy by epoch")]
    scatter = pictures.settings(view, view.ranked)
    if scatter is not None:
        parts += ["<h3>Settings</h3>", _image(scatter, f"{view.metric} by each setting")]
    shares = importances(home, view.name)
    if shares:
        parts += ["<h3>Importances</h3>", _image(pictures.importances(shares), "importance of each setting")]
    return parts


def _table(view: StudyView) -> str:
    ended = view.ranked + [row for row in view.trials if row.value is None and row.state in FINISHED]
    names = list(dict.fromkeys(name for row in ended for name in row.settings))
    heads = ["trial", "state", view.metric, "best epoch", *names, "time, s", "reason"]
    lines = "".join(f"<tr>{_cells(row, names)}</tr>" for row in ended)
    return f"<table><tr>{''.join(f'<th>{html.escape(head)}</th>' for head in heads)}</tr>{lines}</table>"


def _cells(row: TrialRow, names: list[str]) -> str:
    value = "–" if row.value is None else f"{row.value:.4f}"
    plain: list[Any] = [value, row.best_epoch or "–", *(row.settings.get(name, "–") for name in names)]
    cells = [f"<td>{row.number}</td>", f'<td class="word {row.state}">{row.state}</td>']
    cells += [f"<td>{html.escape(f'{cell:.4g}' if isinstance(cell, float) else str(cell))}</td>" for cell in plain]
    cells += [f"<td>{row.duration_s:.1f}</td>", f'<td class="word">{html.escape(row.reason or "")}</td>']
    return "".join(cells)


def _image(png: bytes, text: str) -> str:
    return f'<img alt="{html.escape(text)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
