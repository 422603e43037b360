"""Estimates what a study will cost before it starts: time, memory and disk, for sample trials.

The estimates come from `model.cost`. The measured times of finished trials in the home correct them.
"""

import itertools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from rnnexp.config.sweep import GridSampler, RandomSampler, SweepConfig, TpeSampler
from rnnexp.config.trial import DataConfig, TrialConfig, load_trial
from rnnexp.data.store import TokenStore
from rnnexp.errors import RnnexpError
from rnnexp.home import Home
from rnnexp.model import cost
from rnnexp.storage import sampling
from rnnexp.storage.store import StudyStore
from rnnexp.storage.trial_values import TrialRequest
from rnnexp.storage.views import views
from rnnexp.trial.plan import eval_batch_size
from rnnexp.trial.states import State

_MAX_SAMPLES = 50
_STARTUP_S = 0.9
"""Time from the start of a trial's process to its first step."""
_GB_PER_TRIAL = 0.0003
"""Disk space of a trial's events, logs and records, without its checkpoints."""


@dataclass(frozen=True)
class Forecast:
    """The expected cost of a study.

    Attributes:
        samples: trials that the study may draw; a sampler that learns may draw other ones later.
        seconds: the duration of each sample.
        n_left: the number of trials still to run.
        total_seconds: the duration of all of them, spread over the slots, if none is pruned.
        memory_gb: the memory of the largest trial's process.
        disk_gb: the disk space used at the end, without the data cache.
        paused_gb: the largest disk space that paused trials use in addition, before the end; 0 if none is paused.
        n_measured: the number of finished trials that correct the estimate.
    """

    samples: Sequence[TrialRequest]
    seconds: Sequence[float]
    n_left: int
    total_seconds: float
    memory_gb: float
    disk_gb: float
    paused_gb: float
    n_measured: int


def forecast(config: SweepConfig, home: Home, store: TokenStore, n_slots: int) -> Forecast:
    """Draws sample trials as the study would, and adds up their estimated cost.

    Args:
        config: the sweep.
        home: its finished trials correct the estimate; those of this study count as done.
        store: the data that the base settings name.
        n_slots: the number of trials that run at the same time.
    """
    existing = {view.name: view for view in views(home)}.get(config.study)
    n_finished = existing.n_finished if existing else 0
    n_samples = min(max(1, config.n_trials - n_finished), _MAX_SAMPLES)
    samples = _draw_samples(config, n_samples)
    # With fewer samples than requested, they are the whole search space: no two trials have the same settings.
    n_left = (config.n_trials if len(samples) == n_samples else len(samples)) - n_finished
    correction, n_measured = _correction_factor(home, store)
    estimate = trial_seconds(store)
    seconds = [correction * estimate(sample.config) for sample in samples]
    n_outputs = store.task.n_outputs
    largest_gb = max(4 * cost.n_params(sample.config, n_outputs) / 2**30 for sample in samples)
    n_copies = 1 + cost.OPTIMIZER_SLOTS[config.base.train.optimizer]  # in the mid-trial checkpoint of a running trial
    n_kept = min(config.keep.checkpoints, config.n_trials)
    return Forecast(
        samples=samples,
        seconds=seconds,
        n_left=max(0, n_left),
        total_seconds=max(0, n_left) * statistics.fmean(seconds) / n_slots,
        memory_gb=max_memory_gb(config, n_outputs),
        disk_gb=2 * n_kept * largest_gb + n_slots * n_copies * largest_gb + _GB_PER_TRIAL * config.n_trials,
        paused_gb=config.n_trials * (n_copies + 1) * largest_gb if sampling.pauses(config.pruner) else 0.0,
        n_measured=n_measured,
    )


def max_memory_gb(config: SweepConfig, n_outputs: int) -> float:
    """Returns the memory that the largest trial of the search space needs."""
    largest = config.base
    for name, setting in config.space.items():
        candidates = [largest]
        for value in setting.extremes():
            try:
                candidates.append(largest.with_settings({name: value}))
            except ValueError:  # not valid together with the other settings; such settings change no size
                continue
        largest = max(candidates, key=lambda candidate: _memory_gb(candidate, n_outputs))
    return _memory_gb(largest, n_outputs)


def _memory_gb(config: TrialConfig, n_outputs: int) -> float:
    return cost.memory_gb(config, n_outputs, eval_batch_size(config))


def trial_seconds(store: TokenStore) -> Callable[[TrialConfig], float]:
    """Returns a function that estimates the duration of a trial on one core, in seconds.

    It raises `DataError` if the data have too few rows for the trial's settings.

    Args:
        store: the data that the base settings name.
    """

    @cache
    def sizes(data: DataConfig) -> tuple[int, int, float]:
        split = store.split(data)
        return len(split.train), len(split.validation), store.mean_length(data)

    def seconds(config: TrialConfig) -> float:
        n_train, n_validation, mean_length = sizes(config.data)
        recurrence_s = cost.recurrence_seconds(config, mean_length)
        step_s = recurrence_s + cost.update_seconds(config)
        n_steps, n_eval_steps = (rows / config.train.batch_size for rows in (n_train, n_validation))
        return _STARTUP_S + config.train.epochs * (n_steps * step_s + cost.FORWARD_SHARE * n_eval_steps * recurrence_s)

    return seconds


def start_order(store: TokenStore) -> Callable[[TrialConfig], float]:
    """Returns a function that estimates a trial's duration, to start the longest first.

    A trial whose data cannot be split has 0: it will fail when it starts, with the reason.

    Args:
        store: the data that the base settings name.
    """
    estimate = trial_seconds(store)

    def seconds(config: TrialConfig) -> float:
        try:
            return estimate(config)
        except (RnnexpError, OSError):
            return 0.0

    return seconds


def _draw_samples(config: SweepConfig, n: int) -> list[TrialRequest]:
    """Draws up to n trials with a study in memory."""
    sampler: TpeSampler | RandomSampler | GridSampler = config.sampler
    if isinstance(sampler, TpeSampler):
        sampler = RandomSampler(name="random", seed=sampler.seed)  # without results, TPE has nothing to learn from
    store = StudyStore.in_memory(config.model_copy(update={"sampler": sampler}))
    return list(itertools.islice(iter(store.ask, None), n))


def _correction_factor(home: Home, store: TokenStore) -> tuple[float, int]:
    """Returns the median of measured over estimated duration of the home's finished trials, and how many they are."""
    ratios, estimate = [], trial_seconds(store)
    for view in views(home):
        for row in view.trials:
            if row.state is not State.COMPLETE or not row.duration_s:
                continue
            try:
                config = load_trial(home.study(view.name).trial(row.number).config, {})
            except RnnexpError:
                continue
            if config.data.name == store.name and row.best_epoch:
                ratios.append(row.duration_s / estimate(config))
    return (statistics.median(ratios), len(ratios)) if ratios else (1.0, 0)
