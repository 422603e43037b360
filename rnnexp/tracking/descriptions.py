"""What MLflow's pages say in words: the names and descriptions of runs and of the experiment, and their colors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rnnexp.config.files import load_mapping
from rnnexp.config.formatting import setting_value
from rnnexp.errors import UserError
from rnnexp.home import StudyFolder
from rnnexp.storage.ranking import Ranking
from rnnexp.trial.states import State

NOTE, NAME, COLOR = "mlflow.note.content", "mlflow.runName", "mlflow.runColor"
BEST_COLOR, PRUNED_COLOR, FAILED_COLOR = "#d9541e", "#b0b0b0", "#d03030"

_PRUNED = (
    "The `best_` metrics are the best until then: more epochs could have changed them, so they are no final result of "
    "these settings."
)


@dataclass(frozen=True)
class StudyText:
    """What the pages of a study's runs say about the study, from its stored sweep file.

    Attributes:
        metric: of the objective.
        searched: the dotted names of the settings of the search space.
    """

    metric: str = "val_accuracy"
    searched: tuple[str, ...] = ()

    @classmethod
    def of(cls, folder: StudyFolder) -> "StudyText":
        """Reads the sweep file of a study; without a readable one nothing is said about the study."""
        try:
            sweep = load_mapping(folder.sweep)
        except UserError:
            return cls()
        tried = [name for entry in sweep.get("try") or () for name in entry]
        return cls(
            Ranking.of(sweep).metrics[0],
            tuple(dict.fromkeys([*(sweep.get("space") or {}), *tried])),
        )


@dataclass(frozen=True)
class Outcome:
    """How a trial has ended.

    Attributes:
        state: in Optuna's words.
        reason: one line; empty for a normal end.
        metric: of the objective.
        value: of the objective at the best epoch; None if there is no epoch.
        best_epoch: its number.
        seconds: of training.
        settings: those that were searched.
    """

    state: State
    reason: str
    metric: str
    value: float | None
    best_epoch: int | None
    seconds: float
    settings: Mapping[str, Any]


def run_name(number: int, settings: Mapping[str, Any], value: float | None = None) -> str:
    """Returns a name such as `5 · lstm 61 · 0.875`.

    Args:
        number: of the trial.
        settings: all settings by their dotted names.
        value: of the objective, if it is known.
    """
    model = " ".join(str(settings[name]) for name in ("model.cell", "model.units") if settings.get(name) is not None)
    return " · ".join(filter(None, (str(number), model, "" if value is None else f"{value:.3f}")))


def trial_note(outcome: Outcome, place: tuple[int, int] | None = None, details: Sequence[str] = ()) -> str:
    """Returns the description of a trial's run, in Markdown.

    Args:
        outcome: of the trial.
        place: its rank, and the number of ranked trials.
        details: further paragraphs.
    """
    ranked = "" if place is None else f" Rank {place[0]} of {place[1]}."
    found = ""
    if outcome.value is not None:
        found = f"**{outcome.value:.4f}** {outcome.metric} at epoch {outcome.best_epoch}, in {outcome.seconds:.0f} s."
    if outcome.state is State.FAIL:
        first = f"**Failed:** {outcome.reason}"
    elif outcome.state is State.PRUNED:
        first = f"**Pruned:** {outcome.reason}. {_PRUNED}\n\n{found}{ranked}"
    else:
        first = f"{found}{ranked}" + (f" {outcome.reason}." if outcome.reason else "")
    return "\n\n".join([first, *details, *settings_table(outcome.settings)])


def settings_table(settings: Mapping[str, Any]) -> list[str]:
    """Returns a Markdown table of settings as one paragraph; none without a setting."""
    rows = [f"| {name} | {setting_value(value)} |" for name, value in settings.items() if value is not None]
    return ["\n".join(["| setting | value |", "| --- | --- |", *rows])] if rows else []


def study_note(question: str, answer: Sequence[str], study: str) -> str:
    """Returns the description of an experiment and of a study's own run, in Markdown."""
    asked = [question] if question else []  # lists of experiments show the text as it is
    following = [f"`report.html` is in the run named `study {study}`; `rnnexp compare {study}` prints the ranking."]
    return "\n\n".join([*asked, *answer, *following])
