"""Draws the settings of a new trial, so that no two trials of a study have the same.

A trial is drawn before it is created. So a draw that is rejected leaves nothing in Optuna, and a start that is
interrupted in between draws the same again: the draws of a trial depend on the seed, on its number and on the trials
that exist.

The settings in effect are compared: those that a condition or another setting switches off do not count. Every trial
counts, also a failed one: its settings would fail again.
"""

import itertools
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.pruners import _filter_study
from optuna.trial import FrozenTrial, TrialState

from rnnexp import space as spaces
from rnnexp.config.sweep import SweepConfig, TpeSampler
from rnnexp.config.trial import TrialConfig
from rnnexp.space import Space
from rnnexp.storage import sampling

_MAX_TPE_DRAWS, _MAX_RANDOM_DRAWS = 10, 100
_MAX_LISTED = 1000
"""Among how many unused combinations one is drawn when nearly all are used."""

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Point:
    """Settings for a trial.

    Attributes:
        settings: the values of the settings that apply, in the order in which they are drawn.
        config: all settings.
    """

    settings: dict[str, Any]
    config: TrialConfig


class UsedSettings:
    """The settings in effect of a study's trials."""

    def __init__(self, space: Space) -> None:
        self._names = [name.split(".") for name in space]
        self._keys: set[Key] = set()

    def __contains__(self, config: TrialConfig) -> bool:
        return self._key(config) in self._keys

    def add(self, config: TrialConfig) -> None:
        self._keys.add(self._key(config))

    def discard(self, config: TrialConfig) -> None:
        self._keys.discard(self._key(config))

    def _key(self, config: TrialConfig) -> Key:
        return tuple(rounded(getattr(getattr(config, section), name)) for section, name in self._names)


def rounded(value: Any) -> Any:
    """Returns a number to 12 digits, for comparisons: the same step has different last digits when it is computed."""
    return float(f"{value:.12g}") if isinstance(value, float) else value


class Drawer:
    """Draws the settings of a study's trials.

    Attributes:
        used: the settings that are not drawn.
    """

    def __init__(self, study: optuna.Study, config: SweepConfig, used: UsedSettings) -> None:
        """Args:
        study: the study in Optuna, from which the sampler learns.
        config: its sweep file.
        used: the settings of the trials that exist.
        """
        self.used = used
        self.distributions = {name: sampling.distribution(setting) for name, setting in config.space.items()}
        self._study, self._sampler, self._base, self._space = study, config.sampler, config.base, config.space
        self._fixed = config.base.settings()
        self._single = {
            name: setting.extremes()[0] for name, setting in config.space.items() if self.distributions[name].single()
        }

    def draw(self, number: int, given: Mapping[str, Any], *, may_repeat: bool = False) -> Point | None:
        """Draws settings that no trial has.

        The sampler may draw a used point again and again: TPE does so when it has found the best point of a small
        space. So its draws are bounded; then points are drawn uniformly, and at last one from the list of the unused.

        Args:
            number: the trial's number.
            given: settings that are not drawn; those that do not apply are ignored.
            may_repeat: returns the first draw, used or not.

        Returns:
            The settings; None if every combination is used.
        """
        complete = self.complete(given)
        if complete is not None:
            return complete if may_repeat or complete.config not in self.used else None
        given = {**self._single, **given}
        self._study._thread_local.cached_all_trials = None  # as `Study.ask` does: the sampler must see all trials
        trial = optuna.trial.create_trial(state=TrialState.RUNNING)
        trial.number = number
        study = _filter_study(self._study, trial)
        for sampler, n_draws in self._samplers(number):
            for _ in range(n_draws):
                point = self.point(self._draw_once(study, trial, sampler, given))
                if may_repeat or point.config not in self.used:
                    return point
        return self._draw_from_list(number, given)

    def complete(self, given: Mapping[str, Any]) -> Point | None:
        """Returns the settings that apply and the base settings; None if a setting that applies is not given."""
        settings = spaces.applying(self._space, self._fixed, {**self._single, **given})
        return None if settings is None else self.point(settings)

    def point(self, settings: Mapping[str, Any]) -> Point:
        """Returns settings of the search space, as Optuna stores them, together with the base settings.

        Raises:
            pydantic.ValidationError: if the combination is not allowed.
        """
        stored = {name: self.distributions[name].to_internal_repr(value) for name, value in settings.items()}
        settings = {name: self.distributions[name].to_external_repr(value) for name, value in stored.items()}
        return Point(settings, self._base.with_settings(settings))

    def _samplers(self, number: int) -> Iterator[tuple[optuna.samplers.BaseSampler, int]]:
        """Yields the samplers to try, each with the largest number of its draws."""
        if isinstance(self._sampler, TpeSampler):
            yield sampling.sampler(self._sampler, number), _MAX_TPE_DRAWS
        yield sampling.random_sampler(self._sampler, number), _MAX_RANDOM_DRAWS

    def _draw_once(
        self, study: optuna.Study, trial: FrozenTrial, sampler: optuna.samplers.BaseSampler, given: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Draws the settings of a trial in the way and order in which Optuna's `Trial.suggest_float` does.

        Args:
            study: the trials from which the sampler learns.
            trial: the trial, which is not stored.
            sampler: draws the values.
            given: settings that are not drawn.

        Returns:
            The values by setting. Settings whose condition does not hold are neither drawn nor returned.
        """
        outside = {name: value for name, value in self._fixed.items() if name not in self._space}
        drawn: dict[str, Any] = {}
        together: dict[str, Any] | None = None
        for name in spaces.ordered(self._space):
            if not spaces.applies(self._space[name], outside | drawn):
                continue
            distribution = self.distributions[name]
            value = given.get(name)
            if name not in given:
                if together is None:
                    together = sampler.sample_relative(study, trial, sampler.infer_relative_search_space(study, trial))
                value = together.get(name)
                if name not in together or not distribution._contains(distribution.to_internal_repr(value)):
                    value = sampler.sample_independent(study, trial, name, distribution)
            drawn[name] = value
        return drawn

    def _draw_from_list(self, number: int, given: Mapping[str, Any]) -> Point | None:
        """Draws one of the unused combinations. A setting with endless values gets a random one in each."""
        sampler = sampling.random_sampler(self._sampler, number)
        trial = optuna.trial.create_trial(state=TrialState.RUNNING)

        def values_of(name: str) -> Iterable[Any]:
            if name in given:
                return (given[name],)
            values = self._space[name].values()
            if values is None:
                return (sampler.sample_independent(self._study, trial, name, self.distributions[name]),)
            return values

        points = map(self.point, spaces.combinations(self._space, self._fixed, values_of))
        unused = list(itertools.islice((point for point in points if point.config not in self.used), _MAX_LISTED))
        return random.Random(sampling.seed(self._sampler, number)).choice(unused) if unused else None
