"""Studies over recorded curves, in virtual time: the program's own store, sampler and pruner ask, report and tell.

What is replayed: a slot that is free asks for a trial; the point that the sampler draws becomes the nearest recorded
configuration that no trial has had; its epochs pass in the seconds that were recorded; after each the best value so
far is reported, and the pruner may end it.
"""

import copy
import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.storages import InMemoryStorage

from rnnexp.config.sweep import Pruner, RandomSampler, Sampler, SweepConfig
from rnnexp.space import Choice, FloatRange, IntRange, Space
from rnnexp.storage import sampling
from rnnexp.storage.store import StudyStore
from rnnexp.trial.states import State
from tests.benchmarks.quality.curves import Curve


@dataclass(frozen=True)
class Cost:
    """What a study costs beside the recorded epochs.

    Attributes:
        start_s: from typing the command to the first trial.
        trial_s: of each trial.
        source: where the two figures are from.
    """

    start_s: float
    trial_s: float
    source: str


@dataclass(frozen=True)
class Candidate:
    """A sampler and a pruner that a sweep file can name.

    Attributes:
        sampler: its seed is the replay's.
        pruner: with all its settings.
        nearest: whether the drawn points become the nearest recorded ones; else the next of a random order is taken,
            which for a random sampler needs no distance.
    """

    sampler: Sampler
    pruner: Pruner
    nearest: bool = True


@dataclass(frozen=True)
class Reached:
    """How long a replayed study took.

    Attributes:
        seconds: of wall clock until it had the threshold; all of its seconds where it never came there.
        reached: whether it came there.
        n_trials: begun by then.
        n_epochs: trained by then.
        best: the best value by then.
    """

    seconds: float
    reached: bool
    n_trials: int
    n_epochs: int
    best: float


class _Storage(InMemoryStorage):  # type: ignore[misc]
    """Optuna's store in memory, in which a running trial's point can be moved to a recorded one."""

    def move(self, trial_id: int, settings: Mapping[str, Any], space: Space) -> None:
        """Gives a trial other settings than it has drawn, so that the sampler learns of what was really trained."""
        trial = copy.copy(self._get_trial(trial_id))
        trial.params = dict(settings)
        trial.distributions = {name: sampling.distribution(space[name]) for name in settings}
        self._set_trial(trial_id, trial)


@dataclass
class _Running:
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
) -> Reached:
    """Runs one study until it has the threshold, or has trained every curve as far as its pruner lets it.

    Args:
        curves: of at most the sweep's epochs each.
        config: the sweep, for its space and its epochs.
        candidate: sampler and pruner.
        seed: of the sampler, of the random order, and of Hyperband's brackets.
        threshold: the value that is wanted.
        cost: beside the epochs.
        workers: trials at once.
    """
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
    left = _Left(curves, config.space, seed, nearest=candidate.nearest)
    slots: list[tuple[float, int, _Running | None]] = [(cost.start_s, slot, None) for slot in range(workers)]
    now, n_trials, n_epochs, best = cost.start_s, 0, 0, -math.inf
    while slots:
        now, slot, running = heapq.heappop(slots)
        if running is None:
            if left:
                running = _begin(store, storage, left)
                n_trials += 1
                heapq.heappush(slots, (now + cost.trial_s + _next_s(running), slot, running))
            continue
        if running.epoch < len(running.curve.val_accuracy):
            running.epoch += 1
            n_epochs += 1
            value = max(running.curve.val_accuracy[: running.epoch])
            best = max(best, value)
            if best >= threshold:
                return Reached(now, True, n_trials, n_epochs, best)
            prune = store.report(running.number, running.epoch, value)
            state = State.PRUNED if prune else State.COMPLETE
            if not prune and running.epoch < epochs:
                heapq.heappush(slots, (now + _next_s(running), slot, running))
                continue
            store.tell(running.number, state, value, {})
        else:
            store.tell(running.number, State.FAIL, None, {})
        heapq.heappush(slots, (now, slot, None))
    return Reached(now, False, n_trials, n_epochs, best)


def _next_s(running: _Running) -> float:
    """Returns the seconds of a trial's next epoch; one that failed ends where its curve does."""
    seconds = running.curve.seconds
    return seconds[running.epoch] if running.epoch < len(seconds) else 0.0


def _begin(store: StudyStore, storage: _Storage, left: "_Left") -> _Running:
    asked = store.ask()
    assert asked is not None  # only a grid ends
    curve = left.take(asked.settings)
    storage.move(storage.get_trial_id_from_study_id_trial_number(0, asked.number), curve.settings, left.space)
    return _Running(asked.number, curve)


class _Left:
    """The curves that no trial has had."""

    def __init__(self, curves: Sequence[Curve], space: Space, seed: int, *, nearest: bool) -> None:
        import random

        self.space = space
        self._nearest = nearest
        self._curves = random.Random(seed).sample(list(curves), len(curves))

    def __len__(self) -> int:
        return len(self._curves)

    def take(self, drawn: Mapping[str, Any]) -> Curve:
        """Returns the curve nearest to a drawn point, or the next one; it is then gone."""
        place = 0
        if self._nearest:
            apart = [distance(self.space, drawn, curve.settings) for curve in self._curves]
            place = apart.index(min(apart))
        return self._curves.pop(place)


def distance(space: Space, one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """Returns how far apart two points of a space are: the sum over its settings, each from 0 to 1.

    A choice counts 1 where it differs; a range counts the share of its width that lies between, on the scale that it
    is drawn on; a setting that only one of the two has counts 1.
    """
    return sum(_apart(space[name], one.get(name), other.get(name)) for name in space)


def _apart(setting: Choice | IntRange | FloatRange, one: Any, other: Any) -> float:
    if one is None or other is None or isinstance(setting, Choice):
        return float(one != other)
    low, high = setting.bounds
    if setting.log:
        return math.log(max(one, other) / min(one, other)) / math.log(high / low)
    return abs(one - other) / (high - low)


def in_random_order(pruner: Pruner) -> Candidate:
    """Returns random search with a pruner."""
    return Candidate(RandomSampler(name="random"), pruner, nearest=False)
