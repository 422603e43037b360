"""Runs one study of instant trials: `python -m tests.benchmarks.scale.study HOME --trials 1000`.

Everything but the trials is real: the supervisor, Optuna and MLflow on SQLite, the sender thread, the files. An
interrupted study is resumed. HOME/costs.jsonl has a line with the costs of each trial; HOME/process.json has the number
of trials and the peak memory of the process, and is written when the study is complete.
"""

import argparse
import json
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rnnexp.config.load import load_sweep
from rnnexp.data.store import TokenStore, prepare
from rnnexp.home import Home
from rnnexp.storage.store import StudyStore
from rnnexp.storage.trial_values import TrialRequest
from rnnexp.study.progress import ProgressSnapshot
from rnnexp.study.records import TrialRecords
from rnnexp.study.supervisor import Supervisor
from rnnexp.tracking.projection import Projection
from rnnexp.tracking.sender import SenderThread
from rnnexp.trial.events import EpochEnded
from rnnexp.trial.states import FINISHED, State
from tests.benchmarks.scale.instant import InstantExecutor

NAME = "scale"
SWEEP = """
study: scale
objective: {metric: val_accuracy}
sampler: {name: SAMPLER, seed: 7}
pruner: {name: PRUNER}
budget: {trials: 100}
base: {data: {name: reviews}, train: {epochs: 4}}
space:
  model.cell: {choice: [simple_rnn, gru, lstm]}
  model.units: {int: [16, 128], log: true}
  model.embedding_dim: {choice: [16, 32, 64, 128]}
  data.maxlen: {choice: [100, 200, 400]}
  model.dropout: {float: [0.0, 0.5]}
  train.learning_rate: {float: [0.0003, 0.01], log: true}
  clip.kind: {choice: [none, value, norm, global_norm]}
  clip.threshold: {float: [0.1, 10.0], log: true, when: {clip.kind: [value, norm, global_norm]}}
"""
"""The search space of `sweeps/imdb.yaml`, on the data set that needs no file."""
PRUNERS = {"random": "none", "tpe": "hyperband"}
_MAX_UNSENT = 4
"""The next trial waits while more trials than this are not sent to MLflow; real trials leave it seconds each."""


class Costs:
    """The seconds of each trial for each kind of work."""

    def __init__(self) -> None:
        self.seconds: dict[str, Counter[int]] = {kind: Counter() for kind in ("ask", "report", "log", "tell")}
        self.start: float | None = None  # the first `ask`, because the work before it belongs to no trial
        self.ended: list[tuple[int, float]] = []

    def timed(self, kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns the function with its calls timed; its first argument must be the trial's number."""

        def call(number: int, *args: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(number, *args)
            finally:
                self.seconds[kind][number] += time.perf_counter() - start

        return call


class TimedStore(StudyStore):
    """The store with all calls timed."""

    costs: Costs

    def ask(self) -> TrialRequest | None:
        start = time.perf_counter()
        self.costs.start = self.costs.start or start
        asked = super().ask()
        if asked is not None:
            self.costs.seconds["ask"][asked.number] += time.perf_counter() - start
        return asked

    def report(self, number: int, epoch: int, value: float) -> bool:
        return bool(self.costs.timed("report", super().report)(number, epoch, value))

    def is_behind(self, number: int, epoch: int) -> bool:
        return bool(self.costs.timed("report", super().is_behind)(number, epoch))

    def tell(self, number: int, state: State, value: float | None, summary: dict[str, Any]) -> None:
        self.costs.timed("tell", super().tell)(number, state, value, summary)


class BoundedSender:
    """The sender thread with a limit on the number of unsent trials."""

    def __init__(self, home: Home, identity: str, costs: Costs) -> None:
        self._home, self._identity, self._costs = home, identity, costs
        self._unsent: set[int] = set()
        self._inner = SenderThread(self._connect, lambda line: print(line, file=sys.stderr))

    def _connect(self) -> Callable[[int], object]:
        replay = self._costs.timed("log", Projection.open(self._home, NAME, self._identity).replay)

        def replay_and_count(number: int) -> object:
            self._unsent.discard(number)
            return replay(number)

        return replay_and_count

    def notify(self, number: int) -> None:
        self._unsent.add(number)
        self._inner.notify(number)

    def wait(self) -> None:
        while len(self._unsent) > _MAX_UNSENT:
            time.sleep(0.001)

    def close(self, timeout_s: float) -> list[int]:
        return self._inner.close(timeout_s)


class NoSender:
    """Sends nothing."""

    def notify(self, number: int) -> None:
        return

    def wait(self) -> None:
        return

    def close(self, timeout_s: float) -> list[int]:
        return []


class EndTimes:
    """An observer of the supervisor that records when each trial ended and displays nothing."""

    def __init__(self, costs: Costs) -> None:
        self._costs = costs
        self.n_epochs = self.n_trials = 0

    def started(self, number: int, settings: dict[str, Any], attempt: int, from_epoch: int, epochs: int) -> None:
        return

    def epoch_ended(self, number: int, event: EpochEnded) -> None:
        self.n_epochs += 1

    def ended(self, number: int, state: State, value: float | None, reason: str) -> None:
        if state in FINISHED:
            self.n_trials += 1
            self._costs.ended.append((number, time.perf_counter()))

    def note(self, line: str) -> None:
        print(line, file=sys.stderr)

    def tick(self, standing: ProgressSnapshot) -> None:
        return


def run(home: Home, sampler: str, workers: int, n_trials: int, *, with_mlflow: bool = True) -> None:
    """Runs the study until its budget is used up and writes its costs.

    Raises:
        RuntimeError: if the study was halted or MLflow lacks trials at its end.
    """
    file = home.root / "scale.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(SWEEP.replace("SAMPLER", sampler).replace("PRUNER", PRUNERS[sampler]))
    config = load_sweep(file, {"budget.trials": n_trials})
    data = prepare(config.base.data, home)
    costs, folder = Costs(), home.study(NAME)
    TimedStore.costs = costs
    store = TimedStore.open(home, config, data.digest)
    folder.sweep.write_text(config.to_yaml())
    if with_mlflow:
        Projection.open(home, NAME, store.identity)  # imports MLflow and creates its tables before the first trial
    sender = BoundedSender(home, store.identity, costs) if with_mlflow else NoSender()
    executor, times = InstantExecutor(workers, _describe(data), sender.wait), EndTimes(costs)
    start, start_cpu = time.perf_counter(), time.thread_time()
    try:
        outcome = Supervisor(
            config, store, TrialRecords(folder), executor, sender, times, lambda _: data.root, time
        ).run()
        wall, cpu = time.perf_counter() - start, time.thread_time() - start_cpu
    finally:  # an interrupted study is resumed, and its trials are not run again
        _write_costs(home, costs, executor.seconds, time.perf_counter())
    if outcome.halt_reason or outcome.unsent:
        raise RuntimeError(f"halted: {outcome.halt_reason!r}; MLflow lacks trials {outcome.unsent[:10]}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    found = {
        "n_trials": store.n_finished,
        "peak_bytes": peak,
        "wall_s": wall,
        "cpu_s": cpu,
        "own_s": executor.seconds.total(),
        "n_epochs": times.n_epochs,
        "n_events": times.n_epochs + 3 * times.n_trials,  # started, finished, exited
    }
    (home.root / "process.json").write_text(json.dumps(found))


def _describe(data: TokenStore) -> dict[str, Any]:
    sizes = {"n_train": data.n_pool - data.n_pool // 5, "n_validation": data.n_pool // 5}
    about = {"name": data.name, "digest": data.digest, "split": data.digest[:16], "labels": list(data.labels)}
    return about | sizes | {"source": "built in"}


def _write_costs(home: Home, costs: Costs, own: Counter[int], end: float) -> None:
    previous = costs.start or end
    with (home.root / "costs.jsonl").open("a") as file:
        for place, (number, when) in enumerate(costs.ended):
            when = end if place == len(costs.ended) - 1 else when
            seconds = {kind: counter[number] for kind, counter in costs.seconds.items()}
            file.write(json.dumps({"trial": number, **seconds, "own": own[number], "whole": when - previous}) + "\n")
            previous = when


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("home", type=Path)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--sampler", choices=sorted(PRUNERS), default="random")
    parser.add_argument("--without-mlflow", action="store_true", help="send nothing to MLflow")
    args = parser.parse_args()
    run(Home.open(args.home), args.sampler, args.workers, args.trials, with_mlflow=not args.without_mlflow)


if __name__ == "__main__":
    main()
