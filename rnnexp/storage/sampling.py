"""Converts samplers, pruners and distributions from our configuration to Optuna's classes, and draws settings.

Each trial gets a new sampler that is seeded by (seed, trial number). So a resumed study draws new points, and a trial
that was interrupted while its settings were drawn gets the same settings again.

The random sampler draws the same trials from the same seed in any case. TPE also reads the other trials. With one trial
at a time it draws the same from the same seed and the same results, whether the study was interrupted or not. With
parallel trials the result depends on which trials were running and which had ended, so it is not repeatable.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import optuna

from rnnexp import space as spaces
from rnnexp.config.sweep import (
    GridSampler,
    HyperbandPruner,
    MedianPruner,
    NoPruner,
    Pruner,
    RandomSampler,
    Sampler,
    SuccessiveHalvingPruner,
    TpeSampler,
)
from rnnexp.space import Choice, FloatRange, IntRange, Space
from rnnexp.storage.median import CarryingMedianPruner


def sampler(config: Sampler, number: int) -> optuna.samplers.BaseSampler:
    """Returns the sampler that draws the settings of one trial.

    Args:
        config: the kind of sampler and its options.
        number: the trial's number.
    """
    if isinstance(config, GridSampler):
        return optuna.samplers.RandomSampler(seed=0)  # not used: each point is enqueued
    seed = (config.seed * 1_000_003 + number) % 2**32
    if isinstance(config, RandomSampler):
        return optuna.samplers.RandomSampler(seed=seed)
    assert isinstance(config, TpeSampler)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            seed=seed,
            n_startup_trials=config.n_startup_trials,
            multivariate=True,
            group=True,
            constant_liar=True,  # a running trial counts as a bad one, so that parallel trials do not draw the same
        )


def pruner(config: Pruner, epochs: int) -> optuna.pruners.BasePruner:
    """Returns the pruner. Its steps are epochs, counted from 1.

    Args:
        config: the kind of pruner and its options.
        epochs: the epochs of the longest trial.
    """
    if isinstance(config, NoPruner):
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


def distribution(setting: Choice | IntRange | FloatRange) -> optuna.distributions.BaseDistribution:
    """Returns the Optuna distribution from which `suggest` draws a setting."""
    if isinstance(setting, Choice):
        return optuna.distributions.CategoricalDistribution(setting.choice)
    if isinstance(setting, IntRange):
        low, high = setting.bounds[0], int(setting.last)
        return optuna.distributions.IntDistribution(low, high, log=setting.log, step=setting.step or 1)
    return optuna.distributions.FloatDistribution(setting.bounds[0], setting.last, log=setting.log, step=setting.step)


def suggest(trial: Any, space: Space, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Draws the settings of a trial. Settings whose condition does not hold are neither drawn nor returned.

    Args:
        trial: Optuna's trial.
        space: the search space.
        fixed: the base settings; conditions may refer to those that are not in the space.

    Returns:
        The drawn values, by setting.
    """
    drawn: dict[str, Any] = {}
    outside = {name: value for name, value in fixed.items() if name not in space}
    for name in spaces.ordered(space):
        if spaces.applies(space[name], outside | drawn):
            dist = distribution(space[name])
            _advance_sampler(trial, name, dist)
            if isinstance(dist, optuna.distributions.CategoricalDistribution):
                drawn[name] = trial.suggest_categorical(name, dist.choices)
            elif isinstance(dist, optuna.distributions.IntDistribution):
                drawn[name] = trial.suggest_int(name, dist.low, dist.high, step=dist.step, log=dist.log)
            else:
                drawn[name] = trial.suggest_float(name, dist.low, dist.high, step=dist.step, log=dist.log)
    return drawn


def _advance_sampler(trial: Any, name: str, drawn_from: optuna.distributions.BaseDistribution) -> None:
    """Draws a setting and discards the result, if the setting was stored before the draw was interrupted.

    The sampler's random generator starts from its seed again. Without this, the next setting would get the random
    numbers of this one.
    """
    if name in trial.distributions and not drawn_from.single() and not trial._is_fixed_param(name, drawn_from):
        stored = trial.storage.get_trial(trial._trial_id)
        trial.study.sampler.sample_independent(trial.study, stored, name, drawn_from)
