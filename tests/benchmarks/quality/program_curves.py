"""The program's curves: a study of its own, run by `rnnexp sweep`, read from its trials' events."""

import math
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rnnexp.config.sweep import Budget, Keep, NoPruner, RandomSampler, SweepConfig
from rnnexp.home import Home
from rnnexp.storage.views import StudyView, TrialRow, view
from rnnexp.trial import events
from rnnexp.trial.events import AttemptEnded, Event, Started
from rnnexp.trial.states import State
from tests.benchmarks.frame import python, users_environment
from tests.benchmarks.quality.curves import SEED, Curve, sweep

_SMALL_SAMPLES = 256


def study(settings: Sequence[Mapping[str, Any]], epochs: int, *, small: bool) -> SweepConfig:
    """Returns the sweep that trains every configuration, whole or on few reviews."""
    few = {"data.train_samples": _SMALL_SAMPLES} if small else {}
    # The plain loop holds out the last rows; so both measure on the same ones.
    config = sweep().base.with_settings({"data.split": "tail", "train.epochs": epochs, **few})
    return sweep().model_copy(
        update={
            "study": f"curves-{len(settings)}x{epochs}",
            "sampler": RandomSampler(name="random", seed=SEED),
            "pruner": NoPruner(name="none"),
            "budget": Budget(trials=len(settings)),
            "base": config,
            "tries": tuple(dict(each) for each in settings),
            "keep": Keep(checkpoints=1),
        }
    )


def run(config: SweepConfig, folder: Path, workers: int) -> int:
    """Runs the study, or goes on with it; returns the program's exit code. A signal is the study's to heed."""
    file = folder / f"{config.study}.yaml"
    file.write_text(config.to_yaml(), encoding="utf-8")
    environment = {name: value for name, value in users_environment().items() if name != "MLFLOW_TRACKING_URI"}
    command = python("-m", "rnnexp", "sweep", str(file), "--home", str(folder / "home"), "--workers", str(workers))
    process = subprocess.Popen(command, env=environment)
    before = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda number, _: process.send_signal(number)),
        signal.SIGINT: signal.signal(signal.SIGINT, lambda *_: None),  # Ctrl-C reaches the whole group
    }
    try:
        return process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Study:
    """The study's trials that have ended, as curves."""

    def __init__(self, folder: Path, name: str, starts: Sequence[float]) -> None:
        """Args:
        folder: the recording's.
        name: the study's.
        starts: when the command was begun, each time, in seconds since 1970.
        """
        home = Home.at(folder / "home")
        self._view: StudyView = view(home, name)
        self._rows = [row for row in self._view.trials if row.state in (State.COMPLETE, State.FAIL)]
        self._happened = {row.number: events.read(home.study(name).trial(row.number).events) for row in self._rows}
        self._starts = sorted(starts)

    def curves(self) -> list[Curve]:
        """Returns a curve a trial."""
        beside = beside_s(self._happened, self._starts)
        return [self._curve(row, beside.get(row.number)) for row in self._rows]

    def start_s(self) -> list[float]:
        """Returns the seconds from each start of the command to the first trial that trains."""
        began = sorted(time for happened in self._happened.values() for time in _times(Started, happened))
        ends = [*self._starts[1:], math.inf]
        first = [[time for time in began if start <= time < end] for start, end in zip(self._starts, ends, strict=True)]
        return [times[0] - start for times, start in zip(first, self._starts, strict=True) if times]

    def _curve(self, row: TrialRow, beside_s: float | None) -> Curve:
        epochs = events.epochs(self._happened[row.number])
        return Curve(
            row.number,
            row.settings,
            tuple(epoch.metrics["val_accuracy"] for epoch in epochs),
            tuple(epoch.seconds for epoch in epochs),
            beside_s,
            failed=(row.reason or "failed") if row.state is State.FAIL else "",
        )


def beside_s(happened: Mapping[int, list[Event]], starts: Sequence[float]) -> dict[int, float]:
    """Returns the seconds from the end of the trial before it in its slot to each trial's own, less its epochs.

    So process, data, network, saving, logging, and what the supervisor does between two trials are all in it. Trials
    that began a start of the command, or were interrupted, are left out.

    Args:
        happened: the events of each trial that has ended.
        starts: when the command was begun, each time.
    """
    ended = {
        number: _times(AttemptEnded, those)[-1] for number, those in happened.items() if _times(AttemptEnded, those)
    }
    once = {number: times[0] for number in ended if len(times := _times(Started, happened[number])) == 1}
    free, beside = dict(ended), {}
    for number in sorted(once, key=once.__getitem__):
        last_start = max((start for start in starts if start <= once[number]), default=0.0)
        before = [other for other, time in free.items() if last_start <= time <= once[number]]
        if before:
            latest = max(before, key=free.__getitem__)
            trained = sum(epoch.seconds for epoch in events.epochs(happened[number]))
            beside[number] = ended[number] - free.pop(latest) - trained
    return beside


def _times(kind: type[Started] | type[AttemptEnded], happened: list[Event]) -> list[float]:
    return [event.time for event in happened if isinstance(event, kind)]
