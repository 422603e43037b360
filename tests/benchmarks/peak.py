"""Training steps compared with the machine's limit: operations on real tokens, as a share of a matrix product's rate.

As in a sweep, one process with one thread runs on each core, all at the same time. Each process alternates between
training steps and the matrix product, so that other load affects both alike.
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

from rnnexp.model.cells import cell
from tests.benchmarks import plain
from tests.benchmarks.harness import Options, Result, Target, median, python_command, users_environment, wall_s

_MEASURED = {"lstm 128": (6, 0.81), "lstm 32": (4, 0.53), "gru 32": (2, 0.44), "simple_rnn 32": (0, 0.33)}
"""Name: (index in `plain.CONFIGURATIONS`, share that was measured in November 2026 on two cores)."""
_NOISE = 0.05
"""The share may be lower than the recorded one by this part of it, an allowance for the noise of a single run."""

_MATRIX_SIZE, _STEPS_PER_TURN, _WARM_UP_STEPS = 2048, 8, 4


def run(options: Options) -> Result:
    """Measures each configuration on every core at the same time."""
    cores = sorted(os.sched_getaffinity(0))
    rows, targets = [], []
    with tempfile.TemporaryDirectory(prefix="rnnexp-") as home:
        wall_s(python_command("-m", "tests.benchmarks.peak", home))  # builds the token store once
        for name, (index, recorded) in _MEASURED.items():
            n_turns = 2 if options.quick else 4 + 2 * options.rounds
            command = python_command("-m", "tests.benchmarks.peak", home, str(index), str(n_turns))
            environment = {**users_environment(), "OPENBLAS_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
            workers = [
                subprocess.Popen(
                    [*command, str(core)],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                    env=environment,
                )
                for core in cores
            ]
            figures = [json.loads(process.communicate()[0].strip().splitlines()[-1]) for process in workers]
            share = median([value for each in figures for value in each["shares"]])
            rows.append(
                {
                    "cell": name,
                    "embedding": plain.CONFIGURATIONS[index]["embedding_dim"],
                    "maxlen": plain.CONFIGURATIONS[index]["maxlen"],
                    "tokens per step": statistics.fmean(each["tokens"] for each in figures),
                    "ms per step": median([each["step_ms"] for each in figures]),
                    "GFLOP/s": median([each["gflop_per_s"] for each in figures]),
                    "matrix product GFLOP/s": median([each["matrix"] for each in figures]),
                    "share": share,
                    "Keras loop, times as long": median([value for each in figures for value in each["times"]]),
                    "share of computed operations": median(
                        [value for each in figures for value in each["shares_done"]]
                    ),
                }
            )
            bound = round(recorded * (1 - _NOISE), 3)
            targets.append(Target(f"share of the matrix rate, {name}", share, bound))
    return Result(
        "peak",
        "Training steps compared with the rate of a large matrix product",
        rows,
        targets,
        notes=[
            f"{len(cores)} processes at once, each with one core and one thread; batches of {plain.BATCH_SIZE} IMDB "
            "texts; a step is: build the batch, forward pass, backward pass, optimizer",
            "operations: 6 · gates · H · (E + H) per real token, as if each token were projected; none for padding. In "
            "the last column a token that is repeated in a batch counts as projected once, which is what is computed",
            f"the bounds are the recorded shares minus {_NOISE:.0%}",
        ],
    )


def _measure(home: Path, index: int, n_turns: int, core: int) -> dict[str, Any]:
    """Returns the figures of one configuration on one core."""
    os.sched_setaffinity(0, {core})
    import numpy as np

    compiled, keras_loop, epoch = _networks(home, index)
    matrix = np.random.default_rng(0).standard_normal((_MATRIX_SIZE, _MATRIX_SIZE)).astype(np.float32)
    settings = plain.CONFIGURATIONS[index]
    H, E = settings["units"], settings["embedding_dim"]
    n_recurrent, n_projection = (
        6 * cell(settings["cell"]).n_gates * H * width for width in (H, E)
    )  # operations per token
    matrix @ matrix
    rates, shares, shares_done, steps_ms, tokens, times = [], [], [], [], [], []
    for _ in range(n_turns):
        start = time.perf_counter()
        matrix @ matrix
        rate = 2 * _MATRIX_SIZE**3 / (time.perf_counter() - start)
        batches: list[Any] = []
        start = time.perf_counter()
        compiled.train(_recorded(epoch, batches), lambda: None)
        seconds = time.perf_counter() - start
        start = time.perf_counter()
        keras_loop.train(batches, lambda: None)
        times.append((time.perf_counter() - start) / seconds)
        n_tokens = sum(int((batch.tokens > 0).sum()) for batch in batches)
        n_distinct = sum(len(np.unique(batch.tokens)) for batch in batches)
        rates.append(rate)
        shares.append(n_tokens * (n_recurrent + n_projection) / seconds / rate)
        shares_done.append((n_tokens * n_recurrent + n_distinct * n_projection) / seconds / rate)
        steps_ms.append(1000 * seconds / _STEPS_PER_TURN)
        tokens.append(n_tokens / _STEPS_PER_TURN)
    return {
        "shares": shares,
        "shares_done": shares_done,
        "times": times,
        "step_ms": median(steps_ms),
        "tokens": statistics.fmean(tokens),
        "gflop_per_s": median([share * rate / 1e9 for share, rate in zip(shares, rates, strict=True)]),
        "matrix": median(rates) / 1e9,
    }


def _networks(home: Path, index: int) -> tuple[Any, Any, Iterator[Any]]:
    """Returns the network with the compiled loop, that with Keras' loop, both warmed up, and an epoch's batches."""
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

    networks = network(plan.kernel), network("stock")
    train, _ = fit.parts(config, store, store.split(config.data), plan)
    epoch = train.shuffled(0, 0)
    for each in networks:
        each.train([next(epoch) for _ in range(_WARM_UP_STEPS)], lambda: None)
    return *networks, epoch


def _recorded(epoch: Iterator[Any], batches: list[Any]) -> Iterator[Any]:
    """Yields the batches of a turn, built on request, and appends them to a list."""
    for batch in itertools.islice(epoch, _STEPS_PER_TURN):
        batches.append(batch)
        yield batch


def _config(index: int) -> Any:
    from rnnexp.config.trial import TrialConfig

    settings = plain.CONFIGURATIONS[index]
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
