"""The forkserver imports this module instead of `rnnexp.trial.preload`: it also puts timers around a trial's parts."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import tensorflow as tf

import rnnexp.trial.preload  # noqa: F401 - first, as in the program, because it sets the environment
from tests.benchmarks.trial_cost import patch_points, spans
from tests.benchmarks.trial_cost.spans import timed


def _add_timers() -> None:
    for label, path in patch_points.TRIAL.items():
        patch_points.replace(path, partial(timed, label=label))
    for label, path in patch_points.BATCHES.items():
        patch_points.replace(path, partial(_timed_batches, label=label))
    tf.function = _timed_tf_function(tf.function)
    patch_points.replace(patch_points.MAIN, _timed_main)


def _timed_main(main: Callable[..., None]) -> Callable[..., None]:
    def call(job: Any, *rest: Any) -> None:
        begin = time.monotonic()
        spans.set_trial(job.number)
        try:
            main(job, *rest)
        finally:
            spans.add("process", begin)
            spans.flush()

    call.__module__, call.__qualname__ = main.__module__, main.__qualname__  # it must be found when it is unpickled
    return call


def _timed_batches(method: Callable[..., Iterator[Any]], label: str) -> Callable[..., Iterator[Any]]:
    def call(*args: Any) -> Iterator[Any]:
        begin = time.monotonic()
        return spans.timed_items(method(*args), label, begin)

    return call


def _timed_tf_function(tf_function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns `tf.function` such that the calls of its results are recorded; the first call traces and compiles."""

    def decorator(*args: Any, **kwargs: Any) -> Any:
        if args:
            return tf_function(*args, **kwargs)
        return lambda function: timed(tf_function(**kwargs)(function), f"function {function.__name__}")

    return decorator


_add_timers()
