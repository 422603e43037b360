"""How the model of a trial was selected, among how many, and how sure its value is: for its model card."""

import math

from rnnexp.analysis import answers
from rnnexp.analysis.configurations import expected_again, seed_noise
from rnnexp.home import Home
from rnnexp.storage.views import StudyView, TrialRow
from rnnexp.trial.states import State

_Z_95 = 1.959964


def sentences(home: Home, view: StudyView, row: TrialRow, prefer: str | None = None) -> list[str]:
    """Returns how a trial was selected, in sentences.

    Args:
        home: contains the study.
        view: the study.
        row: the trial.
        prefer: the objective whose best trial of the front was asked for.
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
        place = f"; it is number {ranks[row.number]} of the ranking" if row.number in ranks else ""
        is_preferred = prefer is not None and row.number == view.best_in(prefer).number
        how = f"is the trial of the front that is best in {prefer}" if is_preferred else f"was chosen by hand{place}"
        found.append(f"Trial {row.number} {how}.")
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
