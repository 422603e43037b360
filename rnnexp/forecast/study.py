"""What a study will cost, before it is begun: sample trials, time, memory and disk.

An estimate by `cost`; where the home has finished trials, their real times correct it.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from rnnexp.config.sweep import GridSampler, RandomSampler, SweepConfig, TpeSampler
from rnnexp.config.trial import TrialConfig, load_trial
from rnnexp.data.store import TokenStore
from rnnexp.errors import RnnexpError
from rnnexp.home import Home
from rnnexp.model import cost
from rnnexp.storage.store import StudyStore, TrialRequest
from rnnexp.storage.views import views
from rnnexp.trial.plan import eval_batch_size
from rnnexp.trial.states import State

_MOST_SAMPLED = 50
_START_S = 0.9
"""Of a trial: from its process's start to its first step."""


@dataclass(frozen=True)
class Forecast:
    """What to expect of a study.

    Attributes:
        samples: the first trials that it may draw; what the sampler learns may change the later ones.
        seconds: each sample's, whole.
        n_left: trials still to run.
        total_seconds: of all of them, over the slots, if none is pruned.
        memory_gb: of a trial's process at most.
        disk_gb: what stays at the end, the data's cache aside.
        n_measured: trials of this home that correct the estimate; 0 where there are none.
    """

    samples: Sequence[TrialRequest]
    seconds: Sequence[float]
    n_left: int
    total_seconds: float
    memory_gb: float
    disk_gb: float
    n_measured: int


def forecast(config: SweepConfig, home: Home, store: TokenStore, n_slots: int) -> Forecast:
    """Draws sample trials, as the study would, and adds up what they cost.

    Args:
        config: the sweep.
        home: its finished trials correct the estimate, and count as done where they are of this study.
        store: the data that the base settings name.
        n_slots: trials at once.
    """
    done = {view.name: view for view in views(home)}.get(config.study)
    n_left = config.n_trials - (done.n_finished if done else 0)
    samples = _sample(config, min(max(1, n_left), _MOST_SAMPLED))
    correction, n_measured = _correction(home, store)
    each = [correction * trial_seconds(sample.config, store) for sample in samples]
    n_outputs = store.task.n_outputs
    sizes_gb = [4 * cost.n_params(sample.config, n_outputs) / 2**30 for sample in samples]
    slots = 1 + cost.OPTIMIZER_SLOTS[config.base.train.optimizer]
    kept = min(config.keep.checkpoints, config.n_trials)
    return Forecast(
        samples=samples,
        seconds=each,
        n_left=n_left,
        total_seconds=n_left * statistics.fmean(each) / n_slots,
        memory_gb=most_memory_gb(config, n_outputs),
        disk_gb=2 * kept * max(sizes_gb) + n_slots * slots * max(sizes_gb) + 0.0003 * config.n_trials,
        n_measured=n_measured,
    )


def most_memory_gb(config: SweepConfig, n_outputs: int) -> float:
    """Returns the memory of the largest trial that the space allows."""
    largest = config.base
    for name, setting in config.space.items():
        found = [largest]
        for value in setting.extremes():
            try:
                found.append(largest.with_settings({name: value}))
            except ValueError:  # has no meaning beside the others; it changes no size
                continue
        largest = max(found, key=lambda each: _memory_gb(each, n_outputs))
    return _memory_gb(largest, n_outputs)


def _memory_gb(config: TrialConfig, n_outputs: int) -> float:
    return cost.memory_gb(config, n_outputs, eval_batch_size(config))


def trial_seconds(config: TrialConfig, store: TokenStore) -> float:
    """Returns the seconds that a trial is estimated to take on one core."""
    split = store.split(config.data)
    recurrence_s = cost.recurrence_seconds(config, store.mean_length(config.data))
    step_s = recurrence_s + cost.update_seconds(config)
    n_steps, n_measured = (len(rows) / config.train.batch_size for rows in (split.train, split.validation))
    return _START_S + config.train.epochs * (n_steps * step_s + cost.FORWARD_SHARE * n_measured * recurrence_s)


def _sample(config: SweepConfig, n: int) -> list[TrialRequest]:
    """Draws trials into a study in memory, which is then forgotten."""
    sampler: TpeSampler | RandomSampler | GridSampler = config.sampler
    if isinstance(sampler, TpeSampler):
        sampler = RandomSampler(name="random", seed=sampler.seed)  # it has learnt nothing yet
    store = StudyStore.in_memory(config.model_copy(update={"sampler": sampler}))
    asked = (store.ask() for _ in range(n))
    return [sample for sample in asked if sample is not None]


def _correction(home: Home, store: TokenStore) -> tuple[float, int]:
    """Returns how much longer this machine's trials took than the model says, and how many there are."""
    ratios = []
    for view in views(home):
        for row in view.trials:
            if row.state is not State.COMPLETE or not row.duration_s:
                continue
            try:
                config = load_trial(home.study(view.name).trial(row.number).config, {})
            except RnnexpError:
                continue
            if config.data.name == store.name and row.best_epoch:
                ratios.append(row.duration_s / trial_seconds(config, store))
    return (statistics.median(ratios), len(ratios)) if ratios else (1.0, 0)
