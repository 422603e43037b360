"""Replays studies over recorded curves in virtual time, with the store, the samplers and the pruners of rnnexp.

A free slot asks for a trial. The settings that the sampler draws are replaced by the nearest recorded configuration
that no trial has used yet. Each epoch takes its recorded seconds. After each epoch the best value so far is reported,
and the pruner may end or pause the trial.
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
from optuna.trial import FrozenTrial

from rnnexp.config.sweep import NoPruner, Pruner, Sampler, SweepConfig
from rnnexp.config.trial import TrialConfig
from rnnexp.space import Choice, FloatRange, IntRange, Space
from rnnexp.storage import promotion, sampling
from rnnexp.storage.paused import as_seen_by_sampler
from rnnexp.storage.store import StudyStore
from rnnexp.storage.trial_values import TrialRequest
from rnnexp.trial.states import State
from tests.benchmarks.quality.curves import Curve


@dataclass(frozen=True)
class Cost:
    """The cost of a study in addition to its recorded epochs.

    Attributes:
        start_s: seconds from the start of the command to the first trial.
        trial_s: seconds of each trial outside its epochs, again each time that it resumes.
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
        pause: whether a trial that its rung does not admit is paused instead of pruned.
        resumes_rest: whether the paused trials run too when no other trial is left; otherwise they are pruned then.
    """

    sampler: Sampler
    pruner: Pruner
    nearest: bool = True
    pause: bool = False
    resumes_rest: bool = False


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

    def __init__(self) -> None:
        super().__init__()
        self.paused: set[int] = set()
        """The numbers of the paused trials. The sampler sees them as pruned ones, as in the program."""

    def replace_settings(self, number: int, settings: Mapping[str, Any], space: Space) -> None:
        """Replaces the settings of a trial, so that the sampler learns from the configuration that was trained."""
        trial_id = self.get_trial_id_from_study_id_trial_number(0, number)
        trial = copy.copy(self._get_trial(trial_id))
        trial.params = dict(settings)
        trial.distributions = {name: sampling.distribution(space[name]) for name in settings}
        self._set_trial(trial_id, trial)

    def get_all_trials(self, study_id: int, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
        if not self.paused:
            return list(super().get_all_trials(study_id, deepcopy, states))
        return as_seen_by_sampler(super().get_all_trials(study_id, deepcopy), self.paused, states)


@dataclass
class _RunningTrial:
    number: int
    curve: Curve
    epoch: int = 0

    @property
    def value(self) -> float:
        """The best value so far."""
        return max(self.curve.val_accuracy[: self.epoch])

    @property
    def next_epoch_s(self) -> float:
        """The seconds of the next epoch; 0 if the trial failed at this epoch."""
        return self.curve.seconds[self.epoch] if self.epoch < len(self.curve.seconds) else 0.0


class _SilentStore:
    """Stands in for the store of a study in which nothing is drawn and nothing is pruned: it is much faster."""

    def __init__(self) -> None:
        self._n_trials = 0

    def ask(self) -> TrialRequest:
        self._n_trials += 1
        return TrialRequest(self._n_trials - 1, {}, TrialConfig(), 1)

    def report(self, number: int, epoch: int, value: float) -> bool:
        return False

    def tell(self, number: int, state: State, value: float | None, summary: dict[str, Any]) -> None:
        return


class _Study:
    """Which trial a free slot gets, and what happens to a trial after an epoch."""

    def __init__(self, curves: Sequence[Curve], config: SweepConfig, candidate: Candidate, seed: int) -> None:
        sampler = candidate.sampler.model_copy(update={"seed": seed})
        self._epochs = config.base.train.epochs
        self._storage, name = _Storage(), f"{config.study}-{seed}"
        pruner = sampling.pruner(NoPruner(name="none") if candidate.pause else candidate.pruner, self._epochs)
        study = optuna.create_study(storage=self._storage, study_name=name, direction="maximize", pruner=pruner)
        changes = {"sampler": sampler, "pruner": candidate.pruner, "tries": ()}
        self._store: StudyStore | _SilentStore = StudyStore(study, config.model_copy(update=changes))
        if not candidate.nearest and (candidate.pause or isinstance(candidate.pruner, NoPruner)):
            self._store = _SilentStore()
        self._pool = _CurvePool(curves, config.space, seed, nearest=candidate.nearest)
        pausing = candidate.pruner.model_copy(update={"pause": candidate.pause})
        self._promotion = promotion.build(pausing, name, self._epochs, maximize=True)
        self._resumes_rest = candidate.resumes_rest
        self._paused: dict[int, _RunningTrial] = {}
        self.n_trials = 0

    def next_trial(self) -> _RunningTrial | None:
        """Returns the trial for a free slot; None if there is none at the moment.

        A paused trial that its rung admits comes first, then a new trial, then, if the candidate says so, the best of
        the other paused ones.
        """
        admitted = self._promotion.next(self._paused, closing=not self._pool) if self._promotion else None
        if admitted is not None:
            return self._resume(admitted)
        if self._pool:
            return self._start_trial()
        if self._paused and self._resumes_rest:
            return self._resume(max(self._paused, key=lambda number: (self._paused[number].value, -number)))
        return None

    def goes_on(self, trial: _RunningTrial) -> bool:
        """Reports the epoch that a trial has ended; returns whether it trains another one."""
        if trial.epoch > len(trial.curve.val_accuracy):
            self._store.tell(trial.number, State.FAIL, None, {})
            return False
        prune = self._store.report(trial.number, trial.epoch, trial.value)
        if trial.epoch >= self._epochs or prune:
            self._store.tell(trial.number, State.PRUNED if prune else State.COMPLETE, trial.value, {})
            return False
        if self._must_pause(trial):
            self._paused[trial.number] = trial
            self._storage.paused.add(trial.number)
            return False
        return True

    def _must_pause(self, trial: _RunningTrial) -> bool:
        if self._promotion is None:
            return False
        self._promotion.add(trial.number, trial.epoch, trial.value)
        return self._promotion.must_pause(trial.number, trial.epoch, closing=not self._pool)

    def _resume(self, number: int) -> _RunningTrial:
        self._storage.paused.discard(number)
        return self._paused.pop(number)

    def _start_trial(self) -> _RunningTrial:
        request = self._store.ask()
        assert request is not None  # only a grid sampler runs out of settings
        curve = self._pool.take(request.settings)
        if isinstance(self._store, StudyStore):
            self._storage.replace_settings(request.number, curve.settings, self._pool.space)
        self.n_trials += 1
        return _RunningTrial(request.number, curve)


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
    study = _Study(curves, config, candidate, seed)
    busy: list[tuple[float, int, _RunningTrial]] = []  # the end of the running epoch, the slot, its trial
    idle = list(range(workers))
    now, n_epochs, best = cost.start_s, 0, -math.inf
    while True:
        while idle and (started := study.next_trial()):
            heapq.heappush(busy, (now + cost.trial_s + started.next_epoch_s, idle.pop(0), started))
        if not busy:
            break
        now, slot, trial = heapq.heappop(busy)
        trial.epoch += 1
        if trial.epoch <= len(trial.curve.val_accuracy):
            n_epochs += 1
            best = max(best, trial.value)
            while len(results) < len(thresholds) and best >= thresholds[len(results)]:
                results.append(ReplayResult(now, True, study.n_trials, n_epochs, best))
            if len(results) == len(thresholds):
                return results
        if study.goes_on(trial):
            heapq.heappush(busy, (now + trial.next_epoch_s, slot, trial))
        else:
            idle.append(slot)
    missed = ReplayResult(now, False, study.n_trials, n_epochs, best)
    return results + [missed] * (len(thresholds) - len(results))


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
