"""Training against the machine's limit: operations on real words, over what a large matrix product gives.

As a sweep runs it: one process a core, each with one thread, all at once. Each takes turns between the two, so that
what slows one slows the other.
"""

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.benchmarks import plain
from tests.benchmarks.frame import Options, Result, Target, median, python, users_environment, wall_s

_GATES = {"simple_rnn": 1, "gru": 3, "lstm": 4}
_MEASURED = {"lstm 128": (6, 0.6), "lstm 32": (4, 0.4), "gru 32": (2, None), "simple_rnn 32": (0, 0.2)}
"""Which of the eight configurations, and what its share is held to."""

_MATRIX, _STEPS_A_TURN, _WARM_UP = 2048, 8, 4


def run(options: Options) -> Result:
    """Measures each configuration, on every core at once."""
    cores = sorted(os.sched_getaffinity(0))
    rows, targets = [], []
    with tempfile.TemporaryDirectory(prefix="rnnexp-") as home:
        wall_s(python("-m", "tests.benchmarks.peak", home))  # the token store, once
        for name, (index, least) in _MEASURED.items():
            turns = 2 if options.quick else 2 + 2 * options.rounds
            command = python("-m", "tests.benchmarks.peak", home, str(index), str(turns))
            environment = {**users_environment(), "OPENBLAS_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
            running = [
                subprocess.Popen(
                    [*command, str(core)],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                    env=environment,
                )
                for core in cores
            ]
            found = [json.loads(process.communicate()[0].strip().splitlines()[-1]) for process in running]
            share = median([each for one in found for each in one["shares"]])
            rows.append(
                {
                    "cell": name,
                    "embedding": plain.EIGHT[index]["embedding_dim"],
                    "maxlen": plain.EIGHT[index]["maxlen"],
                    "words a step": statistics.fmean(one["words"] for one in found),
                    "ms a step": median([one["step_ms"] for one in found]),
                    "GFLOP/s": median([one["gflop_per_s"] for one in found]),
                    "matrix GFLOP/s": median([one["matrix"] for one in found]),
                    "share": share,
                    "Keras' loop takes, times": median([each for one in found for each in one["times"]]),
                    "of operations done": median([each for one in found for each in one["shares_done"]]),
                }
            )
            if least is not None:
                targets.append(Target(f"share of the matrix rate, {name}", share, least))
    return Result(
        "peak",
        "Training steps against the rate of a large matrix product",
        rows,
        targets,
        notes=[
            f"{len(cores)} processes at once, a core and a thread each; batches of {plain.BATCH_SIZE} of IMDB's "
            "reviews, whole steps: building the batch, forward, backward, optimizer",
            "operations: 6 · gates · H · (E + H) for each real word, as if each were projected; none for padding. The "
            "last column counts a word that comes several times in a batch as projected once, as it is",
        ],
    )


def _measure(home: Path, index: int, turns: int, core: int) -> dict[str, Any]:
    """Returns one configuration's figures on one core."""
    os.sched_setaffinity(0, {core})
    import numpy as np
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()
    from rnnexp.model.build import build
    from rnnexp.model.clipping import optimizer
    from rnnexp.trial import fit
    from rnnexp.trial.plan import choose

    config, store = _config(index), _store(home, index)
    plan, task = choose(config, 1), store.task

    def network(kernel: str) -> Any:
        model, rule = build(config, task.n_outputs, task.activation), optimizer(config.train, config.clip)
        rule.build(model.trainable_variables)
        return fit.Network(model, rule, config, task, replace(plan, kernel=kernel))

    ours, stock = network(plan.kernel), network("stock")
    train, _ = fit.parts(config, store, store.split(config.data), plan)
    epoch = train.shuffled(0, 0)
    matrix = np.random.default_rng(0).standard_normal((_MATRIX, _MATRIX)).astype(np.float32)
    settings = plain.EIGHT[index]
    H, E = settings["units"], settings["embedding_dim"]
    a_state, a_vector = (6 * _GATES[settings["cell"]] * H * width for width in (H, E))
    for warmed in (ours, stock):
        warmed.train([next(epoch) for _ in range(_WARM_UP)], lambda: None)
    matrix @ matrix
    rates, shares, shares_done, steps_ms, words, times = [], [], [], [], [], []
    for _ in range(turns):
        began = time.perf_counter()
        matrix @ matrix
        rate = 2 * _MATRIX**3 / (time.perf_counter() - began)
        batches: list[Any] = []
        began = time.perf_counter()
        ours.train(_noting(epoch, batches), lambda: None)
        taken = time.perf_counter() - began
        began = time.perf_counter()
        stock.train(batches, lambda: None)
        times.append((time.perf_counter() - began) / taken)
        n_words = sum(int((batch.tokens > 0).sum()) for batch in batches)
        n_distinct = sum(len(np.unique(batch.tokens)) for batch in batches)
        rates.append(rate)
        shares.append(n_words * (a_state + a_vector) / taken / rate)
        shares_done.append((n_words * a_state + n_distinct * a_vector) / taken / rate)
        steps_ms.append(1000 * taken / _STEPS_A_TURN)
        words.append(n_words / _STEPS_A_TURN)
    return {
        "shares": shares,
        "shares_done": shares_done,
        "times": times,
        "step_ms": median(steps_ms),
        "words": statistics.fmean(words),
        "gflop_per_s": median([share * rate / 1e9 for share, rate in zip(shares, rates, strict=True)]),
        "matrix": median(rates) / 1e9,
    }


def _noting(epoch: Iterator[Any], batches: list[Any]) -> Iterator[Any]:
    """Yields a turn's batches, made when they are asked for, and notes them."""
    for batch in itertools.islice(epoch, _STEPS_A_TURN):
        batches.append(batch)
        yield batch


def _config(index: int) -> Any:
    from rnnexp.config.trial import TrialConfig

    settings = plain.EIGHT[index]
    return TrialConfig().with_settings(
        {
            "data.maxlen": settings["maxlen"],
            "model.cell": settings["cell"],
            "model.units": settings["units"],
            "model.embedding_dim": settings["embedding_dim"],
            "train.optimizer": "rmsprop",
            "train.batch_size": plain.BATCH_SIZE,
        }
    )


def _store(home: Path, index: int) -> Any:
    from rnnexp.data.store import prepare
    from rnnexp.home import Home

    return prepare(_config(index).data, Home.open(home))


if __name__ == "__main__":
    if len(sys.argv) == 2:
        _store(Path(sys.argv[1]), 0)
    else:
        _home, *_numbers = sys.argv[1:]
        print(json.dumps(_measure(Path(_home), *map(int, _numbers))))
