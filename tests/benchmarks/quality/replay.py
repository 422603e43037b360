"""Replays studies over recorded curves in virtual time, with the store, the samplers and the pruners of rnnexp.

A free slot asks for a trial. The settings that the sampler draws are replaced by the nearest recorded configuration
that no trial has used yet. Each epoch takes its recorded seconds. After each epoch the best value so far is reported,
and the pruner may end the trial.
"""

import copy
import heapq
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.storages import InMemoryStorage

from rnnexp.config.sweep import Pruner, Sampler, SweepConfig
from rnnexp.space import Choice, FloatRange, IntRange, Space
from rnnexp.storage import sampling
from rnnexp.storage.store import StudyStore
from rnnexp.trial.states import State
from tests.benchmarks.quality.curves import Curve


@dataclass(frozen=True)
class Cost:
    """The cost of a study in addition to its recorded epochs.

    Attributes:
        start_s: seconds from the start of the command to the first trial.
        trial_s: seconds of each trial outside its epochs.
        source: how the two figures were measured.
    """

    start_s: float
    trial_s: float
    source: str


@dataclass(frozen=True)
class Candidate:
    """A sampler and a pruner that a sweep file can name.

    Attributes:
        sampler: the sampler; its seed is replaced by that of the replay.
        pruner: the pruner.
        nearest: whether drawn settings are replaced by the nearest recorded configuration; otherwise the recorded
            configurations are used in a random order, which is equivalent to a random sampler.
    """

    sampler: Sampler
    pruner: Pruner
    nearest: bool = True


@dataclass(frozen=True)
class ReplayResult:
    """The result of a replayed study.

    Attributes:
        seconds: the wall clock until the threshold was reached; the whole time of the study if it was not.
        reached: whether the threshold was reached.
        n_trials: the number of trials started until then.
        n_epochs: the number of epochs trained until then.
        best: the best value until then.
    """

    seconds: float
    reached: bool
    n_trials: int
    n_epochs: int
    best: float


class _Storage(InMemoryStorage):  # type: ignore[misc]
    """Optuna's in-memory storage, in which the settings of a running trial can be replaced."""

    def replace_settings(self, trial_id: int, settings: Mapping[str, Any], space: Space) -> None:
        """Replaces the settings of a trial, so that the sampler learns from the configuration that was trained."""
        trial = copy.copy(self._get_trial(trial_id))
        trial.params = dict(settings)
        trial.distributions = {name: sampling.distribution(space[name]) for name in settings}
        self._set_trial(trial_id, trial)


@dataclass
class _RunningTrial:
    number: int
    curve: Curve
    epoch: int = 0


def replay(
    curves: Sequence[Curve],
    config: SweepConfig,
    candidate: Candidate,
    seed: int,
    threshold: float,
    cost: Cost,
    workers: int,
) -> ReplayResult:
    """Replays one study until it reaches the threshold or has used every curve; arguments as `replay_thresholds`."""
    return replay_thresholds(curves, config, candidate, seed, (threshold,), cost, workers)[0]


def replay_thresholds(
    curves: Sequence[Curve],
    config: SweepConfig,
    candidate: Candidate,
    seed: int,
    thresholds: Sequence[float],
    cost: Cost,
    workers: int,
) -> list[ReplayResult]:
    """Replays one study until it reaches every threshold or has used every curve.

    Args:
        curves: the recorded curves, with at most the sweep's epochs each.
        config: the sweep, for its search space and its epochs.
        candidate: the sampler and the pruner.
        seed: the seed of the sampler, of the random order, and of Hyperband's brackets.
        thresholds: the values to reach, ascending.
        cost: the cost in addition to the epochs.
        workers: the number of concurrent trials.

    Returns:
        One result for each threshold.
    """
    results: list[ReplayResult] = []
    sampler = candidate.sampler.model_copy(update={"seed": seed})
    config = config.model_copy(update={"sampler": sampler, "pruner": candidate.pruner, "tries": ()})
    storage, epochs = _Storage(), config.base.train.epochs
    study = optuna.create_study(
        storage=storage,
        study_name=f"{config.study}-{seed}",
        direction="maximize",
        pruner=sampling.pruner(candidate.pruner, epochs),
    )
    store = StudyStore(study, config)
    pool = _CurvePool(curves, config.space, seed, nearest=candidate.nearest)
    slots: list[tuple[float, int, _RunningTrial | None]] = [(cost.start_s, slot, None) for slot in range(workers)]
    now, n_trials, n_epochs, best = cost.start_s, 0, 0, -math.inf
    while slots:
        now, slot, running = heapq.heappop(slots)
        if running is None:
            if pool:
                running = _start_trial(store, storage, pool)
                n_trials += 1
                heapq.heappush(slots, (now + cost.trial_s + _next_epoch_s(running), slot, running))
            continue
        if running.epoch < len(running.curve.val_accuracy):
            running.epoch += 1
            n_epochs += 1
            value = max(running.curve.val_accuracy[: running.epoch])
            best = max(best, value)
            while len(results) < len(thresholds) and best >= thresholds[len(results)]:
                results.append(ReplayResult(now, True, n_trials, n_epochs, best))
            if len(results) == len(thresholds):
                return results
            prune = store.report(running.number, running.epoch, value)
            state = State.PRUNED if prune else State.COMPLETE
            if not prune and running.epoch < epochs:
                heapq.heappush(slots, (now + _next_epoch_s(running), slot, running))
                continue
            store.tell(running.number, state, value, {})
        else:
            store.tell(running.number, State.FAIL, None, {})
        heapq.heappush(slots, (now, slot, None))
    missed = ReplayResult(now, False, n_trials, n_epochs, best)
    return results + [missed] * (len(thresholds) - len(results))


def _next_epoch_s(running: _RunningTrial) -> float:
    """Returns the seconds of a trial's next epoch; 0 if the trial failed at this epoch."""
    seconds = running.curve.seconds
    return seconds[running.epoch] if running.epoch < len(seconds) else 0.0


def _start_trial(store: StudyStore, storage: _Storage, pool: "_CurvePool") -> _RunningTrial:
    request = store.ask()
    assert request is not None  # only a grid sampler runs out of settings
    curve = pool.take(request.settings)
    storage.replace_settings(
        storage.get_trial_id_from_study_id_trial_number(0, request.number), curve.settings, pool.space
    )
    return _RunningTrial(request.number, curve)


class _CurvePool:
    """The curves that no trial has used yet."""

    def __init__(self, curves: Sequence[Curve], space: Space, seed: int, *, nearest: bool) -> None:
        self.space = space
        self._nearest = nearest
        self._curves = random.Random(seed).sample(list(curves), len(curves))

    def __len__(self) -> int:
        return len(self._curves)

    def take(self, drawn: Mapping[str, Any]) -> Curve:
        """Removes and returns the curve nearest to the drawn settings, or the next one of the random order."""
        index = 0
        if self._nearest:
            distances = [distance(self.space, drawn, curve.settings) for curve in self._curves]
            index = distances.index(min(distances))
        return self._curves.pop(index)


def distance(space: Space, point: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """Returns the distance of two points of a search space: the sum over its settings, each from 0 to 1.

    A choice contributes 1 if it differs. A range contributes the difference as a share of its width, on its own scale
    (linear or logarithmic). A setting that only one of the points has contributes 1.
    """
    return sum(_setting_distance(space[name], point.get(name), other.get(name)) for name in space)


def _setting_distance(setting: Choice | IntRange | FloatRange, one: Any, other: Any) -> float:
    if one is None or other is None or isinstance(setting, Choice):
        return float(one != other)
    low, high = setting.bounds
    if setting.log:
        return math.log(max(one, other) / min(one, other)) / math.log(high / low)
    return abs(one - other) / (high - low)
