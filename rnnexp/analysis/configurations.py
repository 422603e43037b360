"""Configurations: the trials of a study that differ by their seeds only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rnnexp.config.names import cells
from rnnexp.model.cells import cell
from rnnexp.storage.views import StudyView, TrialRow
from rnnexp.trial.states import State

SEEDS = ("train.seed", "data.seed")
"""The settings that do not belong to a configuration."""


@dataclass(frozen=True)
class Configuration:
    """The settings of one or more trials without their seeds.

    Attributes:
        settings: the values that were drawn from the search space, without seeds.
        rows: its finished trials, by number.
    """

    settings: dict[str, Any]
    rows: tuple[TrialRow, ...]

    @property
    def complete(self) -> list[TrialRow]:
        """The trials that were neither pruned nor failed."""
        return [row for row in self.rows if row.state is State.COMPLETE and row.value is not None]

    @property
    def value(self) -> float | None:
        """The mean value of the complete trials."""
        values = [row.value for row in self.complete if row.value is not None]
        return sum(values) / len(values) if values else None


def configurations(study: StudyView) -> list[Configuration]:
    """Returns the configurations of a study: those with complete trials first, best first, then the others."""
    groups: dict[frozenset[tuple[str, Any]], list[TrialRow]] = {}
    for row in study.trials:
        if row.state in (State.COMPLETE, State.PRUNED):
            groups.setdefault(frozenset(_without_seeds(row).items()), []).append(row)
    found = [Configuration(_without_seeds(rows[0]), tuple(rows)) for rows in groups.values()]
    sign = -1 if study.direction == "maximize" else 1
    return sorted(found, key=lambda each: (each.value is None, sign * (each.value or 0.0), each.rows[0].number))


def _without_seeds(row: TrialRow) -> dict[str, Any]:
    return {name: value for name, value in row.settings.items() if name not in SEEDS}


def labels(settings: Sequence[dict[str, Any]]) -> list[str]:
    """Returns a short name for each of some configurations, such as `LSTM(64)`.

    What cell and units leave equal is told apart by the other settings in which they differ.

    Args:
        settings: all settings of each configuration by their dotted names; those of a condition may be missing.
    """
    short = [_of_cell(each) for each in settings]
    names = list(dict.fromkeys(name for each in settings for name in each))
    differing = [
        name
        for name in names
        if name not in ("model.cell", "model.units") and len({str(each.get(name)) for each in settings}) > 1
    ]
    return [
        label
        if short.count(label) == 1
        else f"{label} with {', '.join(f'{name} {_plain(each.get(name))}' for name in differing if name in each)}"
        for label, each in zip(short, settings, strict=True)
    ]


def _of_cell(settings: dict[str, Any]) -> str:
    name = str(settings.get("model.cell", "model"))
    units = settings.get("model.units")
    if name in cells():
        name = cell(name).title
    return name if units is None else f"{name}({units})"


def _plain(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
