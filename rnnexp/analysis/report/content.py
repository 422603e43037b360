"""What a report of a study contains, as plain values: the page's script draws it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rnnexp.analysis import answers, explanations
from rnnexp.analysis.configurations import expected_again, seed_noise
from rnnexp.analysis.expected_best import expected_best
from rnnexp.config.names import METRICS
from rnnexp.home import Home
from rnnexp.storage.importances import Importances, importances, importances_at
from rnnexp.storage.views import StudyView, TrialRow
from rnnexp.trial import events
from rnnexp.trial.events import AttemptEnded, EpochEnded, Event, Finished, Started
from rnnexp.trial.states import FINISHED, State

_CURVES = {"clip/rate": "clip_rate", "clip/grad_norm": "grad_norm", "clip_rate": "clip_rate"}
"""How the page names a metric; homes written before December 2026 have other names."""
_DIGITS = 6
"""Significant digits of a number in the page."""


def study(home: Home, view: StudyView) -> dict[str, Any]:
    """Returns the content of one study's part of the report."""
    histories = {row.number: events.read(view.folder.trial(row.number).events) for row in view.trials}
    base = view.definition.get("base", {})
    found = _importances(home, view, histories)
    noise = seed_noise(home, view)
    expected = expected_again(view, noise)
    certificate = answers.certificate(home, view)
    error, error_text = answers.error_of_one(view, noise)
    searched = list(dict.fromkeys(name for row in view.trials for name in row.settings))
    began = min(
        (event.time for history in histories.values() for event in history if isinstance(event, Started)), default=0.0
    )
    ranks = {row.number: place for place, row in enumerate(view.ranked, start=1)}
    trials = [
        _trial(row, histories[row.number], began, base)
        | {
            "rank": ranks.get(row.number),
            "expected": expected.get(row.number),
            "place": view.place(row),
            "further": view.further_values(row),
        }
        for row in view.trials
    ]
    return {
        "name": view.name,
        "question": view.question,
        "metric": view.metric,
        "direction": view.direction,
        "further": list(view.ranking.metrics[1:]),
        "has_places": view.ranking.has_places,
        "states": {str(state): view.count(state) for state in State if view.count(state)},
        "budget": view.n_trials,
        "answer": answers.answer(view, found, expected, certificate, (error, error_text)),
        "certificate": certificate,
        "error": error,
        "error_text": error_text,
        "settings": [name for name in searched if len({str(row.settings.get(name)) for row in view.trials}) > 1],
        "common": {name: value for name, value in base.items() if name not in searched and value is not None},
        "trials": trials,
        "expected_best": _expected_best(view),
        "importances": [
            {"setting": row.setting, "share": row.share, "median": row.noise_median, "limit": row.noise_limit}
            for row in found.rows
        ],
        "importances_text": _sentence(explanations.describe(found)),
        "same_without_clipping": _same_without_clipping(trials),
        "trust": _trust(view, histories),
    }


def _importances(home: Home, view: StudyView, histories: Mapping[int, list[Event]]) -> Importances:
    """Returns the importances at equal numbers of epochs: those of the trial that trained fewest."""
    curves = {row.number: events.epochs(histories[row.number]) for row in view.ranked}
    lengths = [len(curve) for curve in curves.values() if curve]
    if not lengths:
        return importances(home, view.name)
    n_epochs, best = min(lengths), max if view.direction == "maximize" else min
    values = {
        number: best(epoch.metrics[view.metric] for epoch in curve[:n_epochs])
        for number, curve in curves.items()
        if curve and all(view.metric in epoch.metrics for epoch in curve[:n_epochs])
    }
    return importances_at(home, view.name, values, n_epochs)


def plain(content: Any) -> str:
    """Returns values as JSON that can stand inside a page, with short numbers."""
    return json.dumps(_short(content), separators=(",", ":")).replace("<", "\\u003c")


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if value == value and abs(value) != float("inf") else None
    if isinstance(value, dict):
        return {str(key): _short(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_short(item) for item in value]
    return value


def _trial(row: TrialRow, history: Sequence[Event], began: float, base: Mapping[str, Any]) -> dict[str, Any]:
    curve, clip_kind = events.epochs(list(history)), str({**base, **row.settings}.get("clip.kind", "none"))
    names = list(dict.fromkeys(name for epoch in curve for name in epoch.metrics))
    return {
        "number": row.number,
        "state": str(row.state),
        "value": row.value,
        "best_epoch": row.best_epoch,
        "settings": row.settings,
        "seconds": row.duration_s,
        "reason": row.reason or "",
        "costs": events.costs(list(history)),
        "curve": {_CURVES.get(name, name): [epoch.metrics.get(name) for epoch in curve] for name in names},
        "epoch_seconds": [epoch.seconds for epoch in curve],
        "spans": [(begin - began, end - began) for begin, end in _spans(history)],
        "ended": None if (ended := _ended(history)) is None else ended - began,
        "clip_kind": clip_kind,
        "inert": _is_inert(clip_kind, curve),
    }


def _spans(history: Sequence[Event]) -> list[tuple[float, float]]:
    """Returns when the attempts of a trial began and ended, in seconds since 1970."""
    spans: list[tuple[float, float]] = []
    began: float | None = None
    for event in history:
        if isinstance(event, Started):
            began = event.time
        elif began is not None and isinstance(event, EpochEnded | Finished | AttemptEnded):
            if spans and spans[-1][0] == began:
                spans.pop()
            spans.append((began, max(event.time, began)))
            began = None if isinstance(event, AttemptEnded) else began
    return spans


def _ended(history: Sequence[Event]) -> float | None:
    return next((event.time for event in reversed(history) if isinstance(event, Finished | EpochEnded)), None)


def _is_inert(clip_kind: str, curve: Sequence[EpochEnded]) -> bool:
    """Tells whether a trial has a clipping threshold that never clipped."""
    rates = [value for epoch in curve for name, value in epoch.metrics.items() if _CURVES.get(name) == "clip_rate"]
    return clip_kind != "none" and bool(rates) and not any(rates)


def _same_without_clipping(trials: Sequence[dict[str, Any]]) -> list[list[int]]:
    """Returns the trials that differ only by a clipping that never happened: they trained the same network."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for trial in trials:
        if trial["inert"] or trial["clip_kind"] == "none":
            rest = {name: value for name, value in trial["settings"].items() if not name.startswith("clip.")}
            groups.setdefault(json.dumps(rest, sort_keys=True, default=str), []).append(trial)
    return [
        [trial["number"] for trial in group]
        for group in groups.values()
        if len(group) > 1 and any(trial["inert"] for trial in group)
    ]


def _expected_best(view: StudyView) -> list[float]:
    sign = 1.0 if METRICS[view.metric] == "maximize" else -1.0
    values = [sign * row.value for row in view.trials if row.state in FINISHED and row.value is not None]
    return [sign * value for value in expected_best(values)]


def _sentence(text: str) -> str:
    """Returns a text that begins with a capital letter and ends with a period."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def _trust(view: StudyView, histories: dict[int, list[Event]]) -> dict[str, Any]:
    """Returns what one needs to know to trust the figures: data, split, machines, versions."""
    starts = [event for history in histories.values() for event in history if isinstance(event, Started)]
    data = [start.data for start in starts]
    return {
        "data": sorted({f"{each.get('name')} ({each.get('digest')})" for each in data}),
        "splits": sorted({str(each.get("validation") or each.get("split")) for each in data}),
        "n_train": sorted({int(each["n_train"]) for each in data if "n_train" in each}),
        "n_validation": sorted({int(each["n_validation"]) for each in data if "n_validation" in each}),
        "machines": sorted({str(start.plan.get("processor") or "unknown") for start in starts}),
        "versions": sorted(
            {
                f"{name} {start.plan[key]}"
                for start in starts
                for key, name in (("tensorflow", "TensorFlow"), ("keras", "Keras"), ("numba", "Numba"))
                if start.plan.get(key)
            }
        ),
        "kernels": sorted({str(start.plan.get("kernel")) for start in starts}),
    }
