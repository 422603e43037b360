"""What a study will cost, before it is begun: sample trials, time, memory and disk.

An estimate. The constants were fitted to steps measured on one core of a two-core server (batch 128); where the
home has finished trials, their real times correct it.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import optuna

from rnnexp.config.sweep import GridSampler, RandomSampler, SweepConfig, TpeSampler
from rnnexp.config.trial import TrialConfig, load_trial
from rnnexp.data.store import TokenStore
from rnnexp.errors import RnnexpError
from rnnexp.home import Home
from rnnexp.study.reading import views
from rnnexp.study.states import State
from rnnexp.study.store import Asked, StudyStore

_GATES = {"simple_rnn": 1, "gru": 3}
_OVERHEAD_MS = {"simple_rnn": (0.13, 0.0003), "gru": (0.15, 0.0055)}
_LSTM_GATES, _LSTM_OVERHEAD_MS = 4, (0.03, 0.003)
_GFLOP_PER_S = 100.0
_BATCH = 128
_FORWARD_SHARE = 0.35
_START_S = 2.5
_PROCESS_GB = 0.6
_SLOTS = {"rmsprop": 1, "adam": 2, "adamw": 2, "sgd": 0}
_MOST_SAMPLED = 50


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

    samples: Sequence[Asked]
    seconds: Sequence[float]
    n_left: int
    total_seconds: float
    memory_gb: float
    disk_gb: float
    n_measured: int


def n_params(config: TrialConfig, n_outputs: int) -> int:
    """Returns the trainable weights of the network that the settings describe; a new cell counts as an LSTM."""
    model, gates = config.model, _GATES.get(config.model.cell, _LSTM_GATES)
    directions = 2 if model.bidirectional else 1
    total, width = config.data.vocab_size * model.embedding_dim, model.embedding_dim
    for _ in range(model.layers):
        total += directions * gates * model.units * (width + model.units + 1)
        width = directions * model.units
    return total + (width + 1) * n_outputs


def seconds(config: TrialConfig, store: TokenStore) -> float:
    """Returns the seconds that a trial takes on one core, by the model alone."""
    split, model, data = store.split(config.data), config.model, config.data
    lengths = store.lengths(split.train, data.maxlen)
    mean_length = float(data.maxlen if data.padding == "fixed" else lengths.mean())
    gates = _GATES.get(model.cell, _LSTM_GATES)
    fixed_ms, per_unit_ms = _OVERHEAD_MS.get(model.cell, _LSTM_OVERHEAD_MS)
    step_s, width = 0.0, model.embedding_dim
    directions = 2 if model.bidirectional else 1
    scale = config.train.batch_size / _BATCH
    for _ in range(model.layers):
        gflop = config.train.batch_size * mean_length * 6 * gates * model.units * (width + model.units) / 1e9
        overhead_s = mean_length * (fixed_ms + per_unit_ms * model.units * scale) / 1000
        step_s += directions * (gflop / _GFLOP_PER_S + overhead_s)
        width = directions * model.units
    n_steps = len(split.train) / config.train.batch_size
    n_measured = len(split.validation) / config.train.batch_size
    return _START_S + config.train.epochs * step_s * (n_steps + _FORWARD_SHARE * n_measured)


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
    each = [correction * seconds(sample.config, store) for sample in samples]
    n_outputs = store.task.n_outputs
    sizes_gb = [4 * n_params(sample.config, n_outputs) / 2**30 for sample in samples]
    slots = 1 + _SLOTS[config.base.train.optimizer]
    kept = min(config.keep.checkpoints, config.n_trials)
    return Forecast(
        samples=samples,
        seconds=each,
        n_left=n_left,
        total_seconds=n_left * statistics.fmean(each) / n_slots,
        memory_gb=_PROCESS_GB + 4 * max(sizes_gb),
        disk_gb=2 * kept * max(sizes_gb) + n_slots * slots * max(sizes_gb) + 0.0003 * config.n_trials,
        n_measured=n_measured,
    )


def _sample(config: SweepConfig, n: int) -> list[Asked]:
    """Draws trials into a study in memory, which is then forgotten."""
    sampler: TpeSampler | RandomSampler | GridSampler = config.sampler
    if isinstance(sampler, TpeSampler):
        sampler = RandomSampler(name="random", seed=sampler.seed)  # it has learnt nothing yet
    store = StudyStore(optuna.create_study(), config.model_copy(update={"sampler": sampler}))
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
                ratios.append(row.duration_s / seconds(config, store))
    return (statistics.median(ratios), len(ratios)) if ratios else (1.0, 0)
