"""The plain loop's curves: each epoch timed inside `fit`, by callbacks."""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import keras

from tests.benchmarks import plain
from tests.benchmarks.quality.curves import Curve

_N_VALIDATION = 5_000
_WARM_UP, _STEPS = 3, 20
"""Where only seconds are wanted: steps that are not timed, and steps that are; of training and of measuring."""
_SMALL_STEPS = 2

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
"""The program's names of settings, and the plain loop's."""


class _Epochs(keras.callbacks.Callback):  # type: ignore[misc]
    """Times whole epochs."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self.began = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seconds.append(time.perf_counter() - self.began)


class _Steps(keras.callbacks.Callback):  # type: ignore[misc]
    """Ends each epoch, and its measuring, after some steps; keeps when each of the last epoch's steps ended."""

    def __init__(self, n_steps: int) -> None:
        super().__init__()
        self._n_steps = n_steps
        self.trained: list[float] = []
        self.measured: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.trained, self.measured = [], []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.trained.append(time.perf_counter())
        self.model.stop_training = len(self.trained) >= self._n_steps

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        self.measured.append(time.perf_counter())
        self.model.stop_evaluating = len(self.measured) >= self._n_steps

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.model.stop_training = False


def use_one_thread() -> None:
    """Leaves the other cores to other processes; to be called before the first of TensorFlow's work."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def record(number: int, settings: Mapping[str, Any], epochs: int, part: str, *, small: bool) -> Curve:
    """Records the wanted part of one configuration, or of few steps an epoch."""
    if part == "seconds":
        return _timed(number, settings, epochs)
    curve = _trained(number, settings, epochs, small=small)
    return curve if part == "whole" else dataclasses.replace(curve, seconds=(), beside_s=None)


def _trained(number: int, settings: Mapping[str, Any], epochs: int, *, small: bool) -> Curve:
    """Trains one configuration whole, or with few steps an epoch."""
    clock = _Epochs()
    began = time.perf_counter()
    few = [_Steps(_SMALL_STEPS)] if small else []
    values = plain.train(_named(settings), epochs, seed=0, callbacks=[clock, *few])
    beside_s = time.perf_counter() - began - sum(clock.seconds)
    return Curve(number, dict(settings), tuple(values), tuple(clock.seconds), beside_s)


def _timed(number: int, settings: Mapping[str, Any], epochs: int) -> Curve:
    """Times some steps of one configuration, and scales them to whole epochs.

    What the first epoch has on top (tracing, the first batches) is measured, and stays with the first epoch.
    """
    clock, steps = _Epochs(), _Steps(_WARM_UP + _STEPS)
    began = time.perf_counter()
    plain.train(_named(settings), 1, seed=0, callbacks=[clock, steps])
    beside_s = time.perf_counter() - began - clock.seconds[0]
    step_s, measure_s = (_each(ends) for ends in (steps.trained, steps.measured))
    n_steps, n_measured = (-(-rows // plain.BATCH_SIZE) for rows in (plain.N_TRAIN, _N_VALIDATION))
    epoch_s = n_steps * step_s + n_measured * measure_s
    first_s = max(0.0, clock.seconds[0] - (_WARM_UP + _STEPS) * (step_s + measure_s))
    return Curve(number, dict(settings), (), (epoch_s + first_s, *[epoch_s] * (epochs - 1)), beside_s, scaled=True)


def _each(ends: list[float]) -> float:
    """Returns the seconds of a step after the warm-up."""
    return (ends[-1] - ends[_WARM_UP - 1]) / _STEPS


def _named(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {"threshold": None} | {_NAMES[name]: value for name, value in settings.items()}
