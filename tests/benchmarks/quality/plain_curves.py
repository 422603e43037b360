"""Records curves of the plain loop; callbacks time each epoch inside `fit`."""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import keras

from tests.benchmarks import plain
from tests.benchmarks.quality.curves import Curve

_N_VALIDATION = 5_000
_N_WARM_UP, _N_TIMED = 3, 20
"""If only seconds are recorded: the numbers of untimed and of timed steps, for training and for evaluation."""
_N_SMALL = 2

_NAMES = {
    "model.cell": "cell",
    "model.units": "units",
    "model.embedding_dim": "embedding_dim",
    "model.dropout": "dropout",
    "data.maxlen": "maxlen",
    "train.learning_rate": "learning_rate",
    "clip.kind": "clip",
    "clip.threshold": "threshold",
}
"""The names of settings in rnnexp and in the plain loop."""


class _EpochTimer(keras.callbacks.Callback):  # type: ignore[misc]
    """Records the seconds of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self._start = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seconds.append(time.perf_counter() - self._start)


class _StepTimer(keras.callbacks.Callback):  # type: ignore[misc]
    """Ends training and evaluation of each epoch after some steps; records when each step of the last epoch ended."""

    def __init__(self, n_steps: int) -> None:
        super().__init__()
        self._n_steps = n_steps
        self.train_ends: list[float] = []
        self.evaluation_ends: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.train_ends, self.evaluation_ends = [], []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.train_ends.append(time.perf_counter())
        self.model.stop_training = len(self.train_ends) >= self._n_steps

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self.evaluation_ends.append(time.perf_counter())
        self.model.stop_evaluating = len(self.evaluation_ends) >= self._n_steps

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.stop_training = False


def use_one_thread() -> None:
    """Limits TensorFlow to one thread; must be called before TensorFlow runs anything."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def record(number: int, settings: Mapping[str, Any], epochs: int, part: str, *, small: bool) -> Curve:
    """Records one part of the curve of one configuration.

    Args:
        number: the index of the configuration.
        settings: the configuration, under rnnexp's names.
        epochs: the number of epochs.
        part: one of `curves.PARTS`.
        small: train only a few steps per epoch.
    """
    keras.backend.clear_session()  # otherwise the networks of all configurations stay in memory
    if part == "seconds":
        return _time_steps(number, settings, epochs)
    curve = _train(number, settings, epochs, small=small)
    return curve if part == "whole" else dataclasses.replace(curve, seconds=(), beside_s=None)


def _train(number: int, settings: Mapping[str, Any], epochs: int, *, small: bool) -> Curve:
    """Trains all epochs of one configuration; with `small`, only a few steps per epoch."""
    timer = _EpochTimer()
    start = time.perf_counter()
    limit = [_StepTimer(_N_SMALL)] if small else []
    values = plain.train(_plain_settings(settings), epochs, seed=0, callbacks=[timer, *limit])
    beside_s = time.perf_counter() - start - sum(timer.seconds)
    return Curve(number, dict(settings), tuple(values), tuple(timer.seconds), beside_s)


def _time_steps(number: int, settings: Mapping[str, Any], epochs: int) -> Curve:
    """Times some steps of one configuration and scales them to epochs.

    The additional time of the first epoch (tracing, the first batches) is measured and added to the first epoch only.
    """
    timer, steps = _EpochTimer(), _StepTimer(_N_WARM_UP + _N_TIMED)
    start = time.perf_counter()
    plain.train(_plain_settings(settings), 1, seed=0, callbacks=[timer, steps])
    beside_s = time.perf_counter() - start - timer.seconds[0]
    train_s, evaluation_s = (_step_s(ends) for ends in (steps.train_ends, steps.evaluation_ends))
    n_train, n_evaluation = (-(-rows // plain.BATCH_SIZE) for rows in (plain.N_TRAIN, _N_VALIDATION))
    epoch_s = n_train * train_s + n_evaluation * evaluation_s
    first_s = max(0.0, timer.seconds[0] - (_N_WARM_UP + _N_TIMED) * (train_s + evaluation_s))
    return Curve(number, dict(settings), (), (epoch_s + first_s, *[epoch_s] * (epochs - 1)), beside_s, scaled=True)


def _step_s(ends: list[float]) -> float:
    """Returns the mean seconds of a step after the warm-up."""
    return (ends[-1] - ends[_N_WARM_UP - 1]) / _N_TIMED


def _plain_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {"threshold": None} | {_NAMES[name]: value for name, value in settings.items()}
