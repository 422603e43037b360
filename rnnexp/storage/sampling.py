"""Optuna's samplers, pruners and distributions, from ours.

A sampler is built anew for each trial from (seed, the trial's number): a study that is resumed draws new points, and a
trial whose drawing was cut off draws its own again.
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


def sampler(config: Sampler, number: int) -> optuna.samplers.BaseSampler:
    """Returns the sampler that draws the next trial.

    Args:
        config: which, and its options.
        number: the trial's.
    """
    if isinstance(config, GridSampler):
        return optuna.samplers.RandomSampler(seed=0)  # never drawn from: each point is enqueued
    seed = (config.seed * 1_000_003 + number) % 2**32
    if isinstance(config, RandomSampler):
        return optuna.samplers.RandomSampler(seed=seed)
    assert isinstance(config, TpeSampler)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=config.n_startup_trials, multivariate=True, group=True
        )


def pruner(config: Pruner, epochs: int) -> optuna.pruners.BasePruner:
    """Returns the pruner. A step is an epoch, counted from 1.

    Args:
        config: which, and its options.
        epochs: of a whole trial, at most.
    """
    if isinstance(config, NoPruner):
        return optuna.pruners.NopPruner()
    if isinstance(config, MedianPruner):
        # Optuna checks from step n_warmup_steps on, which is one epoch early where the first step is 1.
        return optuna.pruners.MedianPruner(
            n_startup_trials=config.n_startup_trials,
            n_warmup_steps=config.n_warmup_steps + 1,
            interval_steps=config.interval_steps,
        )
    if isinstance(config, SuccessiveHalvingPruner):
        return optuna.pruners.SuccessiveHalvingPruner(
            min_resource=config.min_resource,
            reduction_factor=config.reduction_factor,
            min_early_stopping_rate=config.min_early_stopping_rate,
        )
    assert isinstance(config, HyperbandPruner)
    # Told the epochs: left to find out, Hyperband prunes nothing until a trial is complete.
    return optuna.pruners.HyperbandPruner(
        min_resource=config.min_resource,
        max_resource=max(epochs, config.min_resource),
        reduction_factor=config.reduction_factor,
    )


def distribution(setting: Choice | IntRange | FloatRange) -> optuna.distributions.BaseDistribution:
    """Returns Optuna's distribution of a setting: the one that `suggest` draws from."""
    if isinstance(setting, Choice):
        return optuna.distributions.CategoricalDistribution(setting.choice)
    if isinstance(setting, IntRange):
        low, high = setting.bounds[0], int(setting.last)
        return optuna.distributions.IntDistribution(low, high, log=setting.log, step=setting.step or 1)
    return optuna.distributions.FloatDistribution(setting.bounds[0], setting.last, log=setting.log, step=setting.step)


def suggest(trial: Any, space: Space, fixed: Mapping[str, Any]) -> dict[str, Any]:
    """Draws the settings of a trial; those that are switched off are not drawn and not returned.

    Args:
        trial: Optuna's.
        space: the search space.
        fixed: the values of all settings outside the space, for conditions that name one.
    """
    drawn: dict[str, Any] = {}
    outside = {name: value for name, value in fixed.items() if name not in space}
    for name in spaces.ordered(space):
        if spaces.applies(space[name], outside | drawn):
            known = distribution(space[name])
            _pass_over(trial, name, known)
            if isinstance(known, optuna.distributions.CategoricalDistribution):
                drawn[name] = trial.suggest_categorical(name, known.choices)
            elif isinstance(known, optuna.distributions.IntDistribution):
                drawn[name] = trial.suggest_int(name, known.low, known.high, step=known.step, log=known.log)
            else:
                drawn[name] = trial.suggest_float(name, known.low, known.high, step=known.step, log=known.log)
    return drawn


def _pass_over(trial: Any, name: str, known: optuna.distributions.BaseDistribution) -> None:
    """Has the sampler draw a setting again that was stored before the drawing was cut off.

    Its generator begins anew; without this, the next setting would get this one's place in it.
    """
    if name in trial.distributions and not known.single() and not trial._is_fixed_param(name, known):
        stored = trial.storage.get_trial(trial._trial_id)
        trial.study.sampler.sample_independent(trial.study, stored, name, known)
