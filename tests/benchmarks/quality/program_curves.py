"""Records curves of rnnexp: `rnnexp sweep` runs one study, and the curves are read from the events of its trials."""

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
from tests.benchmarks.harness import python_command, users_environment
from tests.benchmarks.quality.curves import SEED, Curve, imdb_sweep

_N_TRAIN_SMALL = 256


def build_sweep(settings: Sequence[Mapping[str, Any]], epochs: int, *, small: bool) -> SweepConfig:
    """Returns the sweep that trains every configuration; with `small`, on few texts."""
    few = {"data.train_samples": _N_TRAIN_SMALL} if small else {}
    # The plain loop validates on the last rows; with this split rnnexp uses the same rows.
    config = imdb_sweep().base.with_settings({"data.split": "tail", "train.epochs": epochs, **few})
    return imdb_sweep().model_copy(
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
    """Starts or resumes the study; returns the program's exit code. SIGTERM is forwarded to the program."""
    file = folder / f"{config.study}.yaml"
    file.write_text(config.to_yaml(), encoding="utf-8")
    environment = {name: value for name, value in users_environment().items() if name != "MLFLOW_TRACKING_URI"}
    command = python_command(
        "-m", "rnnexp", "sweep", str(file), "--home", str(folder / "home"), "--workers", str(workers)
    )
    process = subprocess.Popen(command, env=environment)
    old_handlers = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda number, _: process.send_signal(number)),
        signal.SIGINT: signal.signal(signal.SIGINT, lambda *_: None),  # Ctrl-C already reaches the whole process group
    }
    try:
        return process.wait()
    finally:
        for number, handler in old_handlers.items():
            signal.signal(number, handler)


class RecordedStudy:
    """Reads the curves of the study's trials that have ended."""

    def __init__(self, folder: Path, name: str, settings: Sequence[Mapping[str, Any]], starts: Sequence[float]) -> None:
        """Args:
        folder: the folder of the recording.
        name: the name of the study.
        settings: the recorded configurations, in their order.
        starts: the time of each start of the command, in seconds since 1970.
        """
        home = Home.at(folder / "home")
        self._root = str(home.root)
        self._view: StudyView = view(home, name)
        self._rows = [row for row in self._view.trials if row.state in (State.COMPLETE, State.FAIL)]
        self._events = {row.number: events.read(home.study(name).trial(row.number).events) for row in self._rows}
        self._settings = list(settings)
        self._starts = sorted(starts)

    def curves(self) -> list[Curve]:
        """Returns one curve per trial."""
        overhead = overhead_s(self._events, self._starts)
        return [self._curve(row, overhead.get(row.number)) for row in self._rows]

    def start_s(self) -> list[float]:
        """Returns the seconds from each start of the command to the start of its first trial."""
        started = sorted(time for trial_events in self._events.values() for time in _times(Started, trial_events))
        ends = [*self._starts[1:], math.inf]
        first = [
            [time for time in started if start <= time < end] for start, end in zip(self._starts, ends, strict=True)
        ]
        return [round(times[0] - start, 2) for times, start in zip(first, self._starts, strict=True) if times]

    def _curve(self, row: TrialRow, trial_overhead_s: float | None) -> Curve:
        epochs = events.epochs(self._events[row.number])
        return Curve(
            self._settings.index(row.settings),  # a sweep need not start the points of `try` in their order
            row.settings,
            tuple(epoch.metrics["val_accuracy"] for epoch in epochs),
            tuple(epoch.seconds for epoch in epochs),
            trial_overhead_s,
            failed=_one_line(row.reason or "failed", self._root) if row.state is State.FAIL else "",
        )


def _one_line(reason: str, home: str) -> str:
    """Returns the first line of the reason of a failure, without the path of this machine."""
    return reason.splitlines()[0].replace(home, "HOME")


def overhead_s(trial_events: Mapping[int, list[Event]], starts: Sequence[float]) -> dict[int, float]:
    """Returns the overhead of each trial: the seconds from the end of the previous trial in its slot, minus its epochs.

    This includes process start, data, network, saving, logging and the work of the supervisor between two trials. The
    first trials after a start of the command and interrupted trials are left out.

    Args:
        trial_events: the events of each trial that has ended.
        starts: the time of each start of the command.
    """
    end = {number: times[-1] for number, each in trial_events.items() if (times := _times(AttemptEnded, each))}
    start = {number: times[0] for number in end if len(times := _times(Started, trial_events[number])) == 1}
    unused_ends, overhead = dict(end), {}
    for number in sorted(start, key=start.__getitem__):
        last_start = max((time for time in starts if time <= start[number]), default=0.0)
        candidates = [other for other, time in unused_ends.items() if last_start <= time <= start[number]]
        if candidates:
            previous = max(candidates, key=unused_ends.__getitem__)
            trained = sum(epoch.seconds for epoch in events.epochs(trial_events[number]))
            overhead[number] = end[number] - unused_ends.pop(previous) - trained
    return overhead


def _times(kind: type[Started] | type[AttemptEnded], trial_events: list[Event]) -> list[float]:
    return [event.time for event in trial_events if isinstance(event, kind)]
