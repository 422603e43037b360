"""What the forkserver imports instead of `rnnexp.trial.preload`: the same, and timers around a trial's parts."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

import rnnexp.trial.preload  # noqa: F401 - first, as in the program: it sets the environment
from rnnexp.data.batches import Batches
from rnnexp.data.store import TokenStore
from rnnexp.trial import checkpoint, fit, history, process
from tests.benchmarks.trial_cost import spans
from tests.benchmarks.trial_cost.spans import timed


def _put_timers() -> None:
    process._run = timed(process._run, "run")
    process.EventReporter.report = timed(process.EventReporter.report, "event")
    process.EventReporter._exchange = timed(process.EventReporter._exchange, "answer")
    TokenStore.open = timed(TokenStore.open, "open")
    TokenStore.split = timed(TokenStore.split, "split")
    Batches.shuffled = _batches(Batches.shuffled, "training batch")
    Batches.in_order = _batches(Batches.in_order, "validation batch")
    tf.function = _functions(tf.function)
    fit.fit = timed(fit.fit, "fit")
    fit._save_best = timed(fit._save_best, "best model")
    checkpoint.save = timed(checkpoint.save, "checkpoint")
    history.write = timed(history.write, "picture")
    process.main = _main(process.main)


def _main(main: Callable[..., None]) -> Callable[..., None]:
    def call(job: Any, pipe: Any, preloaded: bool) -> None:
        begin = time.monotonic()
        spans.for_trial(int(job.folder.root.name))
        try:
            main(job, pipe, preloaded)
        finally:
            spans.add("process", begin)
            spans.flush()

    call.__module__, call.__qualname__ = main.__module__, main.__qualname__
    return call


def _batches(method: Callable[..., Iterator[Any]], label: str) -> Callable[..., Iterator[Any]]:
    def call(*args: Any) -> Iterator[Any]:
        begin = time.monotonic()
        return spans.timed_items(method(*args), label, begin)

    return call


def _functions(make: Callable[..., Any]) -> Callable[..., Any]:
    """TensorFlow's decorator, with the calls of what it makes recorded: the first one traces and compiles."""

    def decorator(*args: Any, **kwargs: Any) -> Any:
        if args:
            return make(*args, **kwargs)
        return lambda function: timed(make(**kwargs)(function), f"function {function.__name__}")

    return decorator


_put_timers()
