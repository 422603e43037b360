"""Configurations: the trials of a study that differ by their seeds only, and the noise between their seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnexp.analysis import certainty
from rnnexp.config.formatting import setting_value
from rnnexp.config.names import CERTIFICATION, cells
from rnnexp.home import Home
from rnnexp.model.cells import cell
from rnnexp.storage import bulk_reader
from rnnexp.storage.views import StudyView, TrialRow, view
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
    def by_seed(self) -> dict[tuple[Any, ...], float]:
        """The value on each seed; the same seed again gives the same value."""
        return {tuple(row.settings.get(name) for name in SEEDS): row.value or 0.0 for row in self.complete}

    @property
    def value(self) -> float | None:
        """The mean value over its seeds."""
        values = self.by_seed.values()
        return sum(values) / len(values) if values else None


def configurations(study: StudyView) -> list[Configuration]:
    """Returns the configurations of a study: those with complete trials first, best first, then the others."""
    groups: dict[frozenset[tuple[str, Any]], list[TrialRow]] = {}
    for row in study.trials:
        if row.state in (State.COMPLETE, State.PRUNED):
            groups.setdefault(frozenset(_without_seeds(row).items()), []).append(row)
    found = [Configuration(_without_seeds(rows[0]), tuple(rows)) for rows in groups.values()]
    sign = -1 if study.direction == "maximize" else 1
    ranks = {row.number: rank for rank, row in enumerate(study.ranked)} if study.ranking.has_places else {}

    def order(each: Configuration) -> tuple[Any, ...]:
        # With a front or constraints, by the rank of its best trial; else by its mean value.
        rank = min((ranks.get(row.number, len(ranks)) for row in each.rows), default=0)
        return each.value is None, rank, sign * (each.value or 0.0), each.rows[0].number

    return sorted(found, key=order)


def seed_noise(home: Home, study: StudyView) -> float | None:
    """Returns the standard deviation of the value between seeds of one configuration on the same validation rows.

    It is pooled over the configurations of the study and those of its certification; None if none has two seeds.
    """
    views = [study]
    if study.name + CERTIFICATION in bulk_reader.study_names(home):
        certified = view(home, study.name + CERTIFICATION, with_runs=False)
        is_same = certified.metric == study.metric and _data(certified) == _data(study)
        views += [certified] if is_same else []  # an earlier study of this name may have had another one
    groups: list[list[float]] = []
    tables: list[NDArray[np.float64]] = []
    for one in views:
        by_seed = [found for each in configurations(one) if len(found := each.by_seed) > 1]
        if any("data.seed" in row.settings for row in one.trials):
            shared = [seed for seed in (by_seed[0] if by_seed else ()) if all(seed in each for each in by_seed)]
            tables.append(np.array([[each[seed] for seed in shared] for each in by_seed]).reshape(len(by_seed), -1))
        else:
            groups += [list(each.values()) for each in by_seed]
    return certainty.noise_of_seeds(groups, [table for table in tables if min(table.shape) > 1])


def _data(study: StudyView) -> Any:
    return study.definition.get("data_digest")


def expected_again(study: StudyView, noise: float | None) -> dict[int, float]:
    """Returns what each complete trial is expected to score with other seeds on the same split, by its number.

    Args:
        study: the study.
        noise: between seeds, as `seed_noise` returns it; without it nothing can be expected.
    """
    groups = [each for each in configurations(study) if each.complete]
    if noise is None or not groups:
        return {}
    sign = 1.0 if study.direction == "maximize" else -1.0
    means = [sign * (each.value or 0.0) for each in groups]
    found = certainty.expected_when_repeated(means, [len(each.by_seed) for each in groups], noise)
    return {row.number: sign * value for each, value in zip(groups, found, strict=True) for row in each.complete}


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
    texts = {name: _distinct([each.get(name) for each in settings]) for name in differing}
    return [
        label
        if short.count(label) == 1
        else f"{label} with {', '.join(f'{name} {texts[name][place]}' for name in differing if name in own)}"
        for place, (label, own) in enumerate(zip(short, settings, strict=True))
    ]


def _distinct(values: Sequence[Any]) -> list[str]:
    """Returns the values of a setting as short texts, or in full where short ones would be the same."""
    short = [setting_value(value) for value in values]
    return short if len(set(short)) == len(set(map(str, values))) else [str(value) for value in values]


def _of_cell(settings: dict[str, Any]) -> str:
    name = str(settings.get("model.cell", "model"))
    units = settings.get("model.units")
    if name in cells():
        name = cell(name).title
    return name if units is None else f"{name}({units})"
