"""How the model of a trial was selected, among how many, and how sure its value is: for its model card."""

import math

from rnnexp.analysis import answers
from rnnexp.analysis.configurations import expected_again, seed_noise
from rnnexp.home import Home
from rnnexp.storage.views import StudyView, TrialRow
from rnnexp.trial.states import State

_Z_95 = 1.959964


def sentences(home: Home, view: StudyView, row: TrialRow) -> list[str]:
    """Returns how a trial was selected, in sentences.

    Args:
        home: contains the study.
        view: the study.
        row: the trial.
    """
    counts = ", ".join(f"{view.count(state)} {str(state).lower()}" for state in State if view.count(state))
    ranks = {each.number: place for place, each in enumerate(view.ranked, start=1)}
    asked = f" Its question: {view.question}" if view.question else ""
    first = f"The study {view.name} has {len(view.trials)} trial{'s' * (len(view.trials) != 1)} ({counts}).{asked}"
    if len(view.trials) == 1:
        return [first, "Nothing was selected: this is its only trial."]
    noise = seed_noise(home, view)
    expected = expected_again(view, noise)
    found = [first]
    if view.best is None or row.number != view.best.number:
        found.append(f"Trial {row.number} was chosen by hand; it is number {ranks.get(row.number)} of the ranking.")
    certificate, error = answers.certificate(home, view), answers.error_of_one(view, noise)
    return [
        *found,
        *answers.evidence(view, expected, certificate, error),
        "A value on the validation part is optimistic: the same texts selected the epoch and the trial.",
    ]


def interval_over_texts(share: float, n_texts: int) -> tuple[float, float]:
    """Returns the 95% interval of an accuracy over the choice of texts (Wilson 1927), for one model."""
    shrink = 1 + _Z_95**2 / n_texts
    middle = (share + _Z_95**2 / (2 * n_texts)) / shrink
    half = _Z_95 * math.sqrt(share * (1 - share) / n_texts + _Z_95**2 / (4 * n_texts**2)) / shrink
    return middle - half, middle + half
