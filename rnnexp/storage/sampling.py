"""Converts samplers, pruners and distributions from our configuration to Optuna's classes.

Each trial gets a new sampler that is seeded by (seed, trial number). So a resumed study draws new points, and a start
that was interrupted before its trial was stored draws the same settings again.

The random sampler draws the same trials from the same seed in any case. TPE also reads the other trials. With one trial
at a time it draws the same from the same seed and the same results, whether the study was interrupted or not. With
parallel trials the result depends on which trials were running and which had ended, so it is not repeatable.
"""

import warnings
from typing import Any

import optuna

from rnnexp.config.sweep import (
    GridSampler,
    HyperbandPruner,
    MedianPruner,
    NoPruner,
    Pruner,
    Sampler,
    SuccessiveHalvingPruner,
    SweepConfig,
    TpeSampler,
)
from rnnexp.space import Choice, FloatRange, IntRange
from rnnexp.storage.median import CarryingMedianPruner


class TpeOfNewTrials(optuna.samplers.TPESampler):  # type: ignore[misc]
    """Optuna's TPE for a trial that is not stored yet. Optuna's also writes what it draws into the stored trial."""

    def sample_relative(self, study: Any, trial: Any, search_space: dict[str, Any]) -> dict[str, Any]:
        """Draws the settings that are modelled together, group by group, as Optuna's method does."""
        drawn: dict[str, Any] = {}
        for group in self._search_space_group.search_spaces:
            names = sorted(name for name in group if name in search_space)
            drawn |= self._sample_relative(study, trial, {name: search_space[name] for name in names})
        return drawn


def sampler(config: Sampler, number: int) -> optuna.samplers.BaseSampler:
    """Returns the sampler that draws the settings of one trial.

    Args:
        config: the kind of sampler and its options.
        number: the trial's number.
    """
    if not isinstance(config, TpeSampler):  # with a grid, it draws what an entry of `try` leaves open
        return random_sampler(config, number)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return TpeOfNewTrials(
            seed=seed(config, number),
            n_startup_trials=config.n_startup_trials,
            multivariate=True,
            group=True,
            constant_liar=True,  # a running trial counts as a bad one, so that parallel trials do not draw the same
        )


def random_sampler(config: Sampler, number: int) -> optuna.samplers.BaseSampler:
    """Returns a sampler that draws the settings of one trial uniformly."""
    return optuna.samplers.RandomSampler(seed=seed(config, number))


def seed(config: Sampler, number: int) -> int:
    """Returns the seed of the draws of one trial."""
    of_study = 0 if isinstance(config, GridSampler) else config.seed
    return (of_study * 1_000_003 + number) % 2**32


def pauses(config: Pruner) -> bool:
    """Tells whether trials are paused instead of pruned; `storage.promotion` then has the rule."""
    return isinstance(config, SuccessiveHalvingPruner | HyperbandPruner) and config.pause


def pruner(config: Pruner, epochs: int) -> optuna.pruners.BasePruner:
    """Returns the pruner; one that prunes nothing if trials are paused. Its steps are epochs, counted from 1.

    Args:
        config: the kind of pruner and its options.
        epochs: the epochs of the longest trial.
    """
    if isinstance(config, NoPruner) or pauses(config):
        return optuna.pruners.NopPruner()
    if isinstance(config, MedianPruner):
        return CarryingMedianPruner(
            n_startup_trials=config.n_startup_trials,
            n_warmup_steps=config.n_warmup_steps,
            interval_steps=config.interval_steps,
        )
    if isinstance(config, SuccessiveHalvingPruner):
        return optuna.pruners.SuccessiveHalvingPruner(
            min_resource=config.min_resource,
            reduction_factor=config.reduction_factor,
            min_early_stopping_rate=config.min_early_stopping_rate,
        )
    assert isinstance(config, HyperbandPruner)
    # With max_resource="auto", Hyperband prunes nothing until a trial is complete.
    return optuna.pruners.HyperbandPruner(
        min_resource=config.min_resource,
        max_resource=max(epochs, config.min_resource),
        reduction_factor=config.reduction_factor,
    )


def max_epochs(config: SweepConfig) -> int:
    """Returns the epochs of the longest trial in the search space."""
    searched = config.space.get("train.epochs")
    return max(int(value or 0) for value in searched.extremes()) if searched else config.base.train.epochs


def distribution(setting: Choice | IntRange | FloatRange) -> optuna.distributions.BaseDistribution:
    """Returns the Optuna distribution from which `suggest` draws a setting."""
    if isinstance(setting, Choice):
        return optuna.distributions.CategoricalDistribution(setting.choice)
    if isinstance(setting, IntRange):
        low, high = setting.bounds[0], int(setting.last)
        return optuna.distributions.IntDistribution(low, high, log=setting.log, step=setting.step or 1)
    return optuna.distributions.FloatDistribution(setting.bounds[0], setting.last, log=setting.log, step=setting.step)
