"""The study that trains the best configurations of another study again, on seeds that they share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnexp.analysis import certainty, seed_test
from rnnexp.analysis.certainty import Certainty
from rnnexp.analysis.configurations import SEEDS, Configuration, configurations, labels
from rnnexp.config.names import CERTIFICATION, METRICS
from rnnexp.config.sweep import Budget, Keep, NoPruner, RandomSampler, SweepConfig
from rnnexp.errors import StudyError, UserError
from rnnexp.space import Choice
from rnnexp.storage.views import StudyView, TrialRow
from rnnexp.trial.states import State

FEWEST_SEEDS = seed_test.FIRST_LOOK


@dataclass(frozen=True)
class Certification:
    """A certification of a study.

    Attributes:
        config: the sweep of all its trials.
        candidates: the configurations, best of the certified study first.
        names: a short name for each.
        seeds: the seeds, in the order in which they are trained.
        metric: what is compared.
    """

    config: SweepConfig
    candidates: tuple[Configuration, ...]
    names: tuple[str, ...]
    seeds: tuple[int, ...]
    metric: str

    def looks(self) -> list[int]:
        """Returns after how many seeds the result is looked at; a single configuration is looked at once."""
        return seed_test.looks(len(self.seeds)) if len(self.candidates) > 1 else [len(self.seeds)]

    def check_continues(self, before: StudyView) -> None:
        """Checks that an earlier certification of this name is continued.

        Args:
            before: the study of the earlier one.

        Raises:
            StudyError: if it compares other configurations or seeds, or has more seeds.
        """
        stored, planned = before.definition.get("try", []), [dict(entry) for entry in self.config.tries]
        if planned[: len(stored)] == stored:
            return
        if stored[: len(planned)] == planned:
            raise StudyError(
                f"certify --seeds: got {len(self.seeds)}, but study {before.name} has "
                f"{len(stored) // len(self.candidates)} seeds planned already; give as many or more"
            )
        raise StudyError(
            f"certify: study {before.name} compares other configurations: --top differs, or its study has new results; "
            f"to start again, delete it: rnnexp delete {before.name}"
        )

    def with_seeds(self, n_seeds: int) -> SweepConfig:
        """Returns the sweep with a budget for so many seeds."""
        return self.config.model_copy(update={"budget": Budget(trials=n_seeds * len(self.candidates))})

    def _rows(self, study: StudyView, wanted: Mapping[str, Any]) -> dict[int, TrialRow]:
        """Returns the complete trials of a configuration by their seeds."""
        return {
            seed: row
            for row in study.trials
            if row.state is State.COMPLETE and (seed := self._seed_if(row, wanted)) is not None
        }

    def _seed_if(self, row: TrialRow, wanted: Mapping[str, Any]) -> int | None:
        """Returns the seed of a trial if it has the wanted settings."""
        of_row = {name: value for name, value in row.settings.items() if name not in SEEDS}
        same = all(wanted.get(name) == value for name, value in of_row.items())
        complete = all(of_row.get(name) == wanted[name] for name in wanted if name in self.config.space)
        return int(row.settings["train.seed"]) if same and complete else None

    def common_rows(self, study: StudyView) -> dict[int, list[TrialRow]]:
        """Returns the trials of every configuration on the seeds where each is complete, in the order of the looks."""
        by_candidate = [self._rows(study, candidate.settings) for candidate in self.candidates]
        return {
            seed: [rows[seed] for rows in by_candidate]
            for seed in self.seeds
            if all(seed in rows for rows in by_candidate)
        }

    def scores(self, study: StudyView) -> NDArray[np.float64]:
        """Returns the scores (K, S) on the common seeds; larger is better."""
        sign = 1.0 if METRICS[self.metric] == "maximize" else -1.0
        by_seed = [[sign * row.metrics[self.metric] for row in rows] for rows in self.common_rows(study).values()]
        return np.array(by_seed).reshape(-1, len(self.candidates)).T

    def result(self, study: StudyView, *, with_power: bool = False) -> Certainty | None:
        """Returns the comparisons so far; None without a common seed."""
        scores = self.scores(study)
        return certainty.compare(scores, with_power=with_power) if scores.shape[1] else None


def certification(
    study: StudyView, source: SweepConfig, top: int, n_seeds: int, metric: str | None, *, draws_split: bool
) -> Certification:
    """Plans the certification of a study.

    Args:
        study: the study to certify.
        source: its sweep.
        top: how many of its best configurations are trained again.
        n_seeds: on how many seeds at most.
        metric: what is compared; None for the metric of the objective.
        draws_split: whether each seed also has a split of its own.

    Raises:
        UserError: if the study cannot be certified like that.
    """
    found = [each for each in configurations(study) if each.value is not None]
    if not found:
        raise UserError(f"certify: study {study.name} has no complete trial; run its sweep first")
    if not 1 <= top <= len(found):
        raise UserError(
            f"certify --top: got {top}, expected 1 to {len(found)}: study {study.name} has {len(found)} configurations "
            "with a complete trial"
        )
    if n_seeds < FEWEST_SEEDS:
        raise UserError(
            f"certify --seeds: got {n_seeds}, expected at least {FEWEST_SEEDS}: no test with fewer seeds can tell two "
            "configurations apart"
        )
    chosen = tuple(found[:top])
    seeds = _fresh_seeds(study, source, n_seeds)
    fixed, space = _space(chosen, source)
    per_seed = ("train.seed", "data.seed") if draws_split else ("train.seed",)
    space |= {name: Choice(choice=seeds) for name in per_seed}
    tries = tuple(
        {name: value for name, value in each.settings.items() if name in space} | dict.fromkeys(per_seed, seed)
        for seed in seeds
        for each in chosen
    )
    config = SweepConfig(
        study=study.name + CERTIFICATION,
        objective=source.objective,
        sampler=RandomSampler(name="random"),
        pruner=NoPruner(name="none"),
        budget=Budget(trials=len(tries)),
        base=source.base.with_settings(fixed),
        tries=tries,
        space=space,
        limits=source.limits,
        keep=Keep(checkpoints=len(tries)),
        engine=source.engine,
    )
    names = labels([source.base.settings() | each.settings for each in chosen])
    return Certification(config, chosen, tuple(names), seeds, metric or source.objective.metric)


def _fresh_seeds(study: StudyView, source: SweepConfig, n_seeds: int) -> tuple[int, ...]:
    """Returns seeds that no trial of the study has used."""
    used = {source.base.train.seed, source.base.data.seed}
    used |= {int(row.settings[name]) for row in study.trials for name in SEEDS if name in row.settings}
    return tuple(range(max(used) + 1, max(used) + 1 + n_seeds))


def _space(chosen: Sequence[Configuration], source: SweepConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the settings that all configurations share, and a space of those in which they differ."""
    names = list(dict.fromkeys(name for each in chosen for name in each.settings))
    fixed: dict[str, Any] = {}
    space: dict[str, Any] = {}
    for name in names:
        values = list(dict.fromkeys(each.settings[name] for each in chosen if name in each.settings))
        if len(values) == 1 and all(name in each.settings for each in chosen):
            fixed[name] = values[0]
        else:
            space[name] = Choice(choice=tuple(values), when=_condition(source, chosen, name))
    return fixed, space


def _condition(source: SweepConfig, chosen: Sequence[Configuration], name: str) -> dict[str, Any]:
    """Returns the condition of a setting, without the values that no configuration has."""
    when = source.space[name].when if name in source.space else {}
    base = source.base.settings()
    taken = {control: [each.settings.get(control, base.get(control)) for each in chosen] for control in when}
    return {control: tuple(value for value in allowed if value in taken[control]) for control, allowed in when.items()}
