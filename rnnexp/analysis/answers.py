"""The answer of a study in sentences: which trial is best, how sure that is, and which settings matter."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnnexp.analysis.verdicts import difference
from rnnexp.config.formatting import setting_value
from rnnexp.config.names import CERTIFICATION
from rnnexp.home import Home, existing_text
from rnnexp.storage.importances import Importances
from rnnexp.storage.views import StudyView
from rnnexp.trial import events
from rnnexp.trial.events import Started
from rnnexp.trial.states import State

_CERTIFICATE = {"metric", "seeds", "leader", "comparisons", "configurations", "sentences", "test"}
"""What a certificate always has; those of versions before December 2026 lack `study_id`."""


def answer(
    view: StudyView,
    found: Importances,
    expected: Mapping[int, float],
    certified: dict[str, Any] | None,
    error: tuple[float | None, str],
) -> list[str]:
    """Returns the answer in sentences: the best trial, how sure that is, which settings matter.

    Args:
        view: the study.
        found: the importance of its settings.
        expected: what its trials are expected to score when they are trained again, by number.
        certified: the result of its certification, if there is one.
        error: the standard deviation of one trial's value, and what it is about.
    """
    if view.best is None:
        return ["No trial has a result yet."]
    sentences = evidence(view, expected, certified, error)
    clear = [row.setting for row in found.rows if not row.is_noise]
    if clear:
        sentences.append(f"More than chance explains, {view.metric} depends on {', '.join(clear)}.")
    return sentences


def evidence(
    view: StudyView,
    expected: Mapping[int, float],
    certified: dict[str, Any] | None,
    error: tuple[float | None, str],
) -> list[str]:
    """Returns which trial is best and how sure that is; the arguments are those of `answer`."""
    sentences = _front(view) if view.ranking.has_front else [_best(view)]
    if certified is not None:
        return sentences + _of_certificate(certified)
    return sentences if view.ranking.has_front else [*sentences, _doubt(view, expected, *error)]


def _best(view: StudyView) -> str:
    best = view.best
    assert best is not None
    chosen = ", ".join(f"{name} {setting_value(value)}" for name, value in best.settings.items())
    when = f"at epoch {best.best_epoch}" + (", when it was pruned" if best.state is State.PRUNED else "")
    return f"Trial {best.number} has the best {view.metric}: {best.value:.4f} {when}{f' ({chosen})' if chosen else ''}."


def _of_certificate(certified: dict[str, Any]) -> list[str]:
    test = certified["test"]
    return [
        *(f"{sentence}." for sentence in certified["sentences"]),
        f"On the test part {certified['leader']} has an accuracy of {test['accuracy']:.4f} (95% over seeds and texts: "
        f"{test['low']:.4f} to {test['high']:.4f}).",
    ]


def _front(view: StudyView) -> list[str]:
    """Returns the answer of a study with several objectives: the ends of its front."""
    metrics, front = view.ranking.metrics, view.front
    if not front:
        return ["No trial is inside the constraints."]
    ends = []
    for metric in metrics:
        row = view.best_in(metric)
        values = [
            f"{view.metric} {row.value:.4f}",
            *(f"{name} {setting_value(value)}" for name, value in view.further_values(row).items()),
        ]
        ends.append(f"The best in {metric} is trial {row.number} ({', '.join(values)}).")
    numbers = ", ".join(str(row.number) for row in front)
    first = f"{len(front)} of {len(view.ranked)} trials are on the front of {' and '.join(metrics)}: {numbers}."
    return [f"{first} No other trial is at least as good in each and better in one.", *ends]


def _doubt(view: StudyView, expected: Mapping[int, float], error: float | None, error_text: str) -> str:
    """Returns how sure a ranking of single trials is."""
    best, start = view.best, "How sure that is, one seed for each trial cannot say"
    assert best is not None
    again = expected.get(best.number)
    if again is not None:
        return f"Trained again with another seed, it is expected to have {again:.4f}: the best of many is partly lucky."
    if error is None or best.value is None:
        return f"{start}."
    near = [row for row in view.ranked[1:] if abs((row.value or 0.0) - best.value) < 2 * error]
    return (
        f"{start}. One value alone has a standard error of {difference(error, view.metric)} ({error_text}), and "
        f"{len(near)} other trials are within two of them."
    )


def error_of_one(view: StudyView, noise: float | None) -> tuple[float | None, str]:
    """Returns the standard deviation of one trial's value, and what it is about."""
    if noise is not None:
        return noise, "seeds: two trainings of one configuration differ by that much"
    n_texts = _n_validation(view)
    if view.metric == "val_accuracy" and n_texts and view.best is not None and view.best.value is not None:
        return math.sqrt(view.best.value * (1 - view.best.value) / n_texts), (
            f"the choice of {n_texts:,} validation texts; the noise of seeds comes on top and is not known"
        )
    return None, ""


def certificate(home: Home, view: StudyView) -> dict[str, Any] | None:
    """Returns the result of the study's certification, if there is one; not that of an earlier study of its name."""
    for folder, certified in ((home.study(view.name + CERTIFICATION), view.identity), (view.folder, None)):
        found = load_certificate(folder.certificate)
        if found is not None and certified in (None, found.get("study_id", certified)):
            return found
    return None


def load_certificate(path: Path) -> dict[str, Any] | None:
    """Returns a certificate; None if there is none, or if it is incomplete.

    Raises:
        HomeError: if it cannot be read now.
    """
    try:
        found = json.loads(existing_text(path) or "")
    except ValueError:
        return None
    return found if isinstance(found, dict) and found.keys() >= _CERTIFICATE else None


def _n_validation(view: StudyView) -> int:
    for row in view.trials:
        for event in events.read(view.folder.trial(row.number).events):
            if isinstance(event, Started):
                return int(event.data.get("n_validation", 0))
    return 0
