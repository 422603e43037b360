"""A small study for tests: a real Optuna database, and trials that an executor of the test plays."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rnnexp.config.load import load_sweep
from rnnexp.config.sweep import SweepConfig
from rnnexp.home import Home
from rnnexp.storage.store import StudyStore
from rnnexp.storage.views import StudyView, view
from rnnexp.study.clock import Clock
from rnnexp.study.records import TrialRecords
from rnnexp.study.stopping import Outcome
from rnnexp.study.supervisor import Supervisor
from rnnexp.trial.states import State
from tests.study.fakes import FakeExecutor, FakeReporter, FakeSender

SWEEP = """
study: s
sampler: {name: random, seed: 3}
budget: {trials: 4}
base: {data: {name: reviews}, train: {epochs: 3}}
space:
  model.units: {int: [8, 64]}
  clip.kind: {choice: [none, norm]}
  clip.threshold: {float: [0.1, 10], log: true, when: {clip.kind: [norm]}}
"""


class Study:
    """A home with one sweep file, which a test can run several times."""

    def __init__(self, root: Path) -> None:
        root.mkdir(exist_ok=True)
        self.home = Home.open(root / "home")
        self.file = root / "sweep.yaml"
        self.file.write_text(SWEEP)
        self.reporter = FakeReporter()
        self.sender = FakeSender()
        self.prepare: Any = lambda config: root

    def config(self, **settings: Any) -> SweepConfig:
        return load_sweep(self.file, {key.replace("__", "."): value for key, value in settings.items()})

    def run(
        self,
        executor: FakeExecutor,
        signals: dict[tuple[int, int], int] | None = None,
        clock: Clock = time,
        show: Callable[[Outcome], None] = lambda _: None,
        **settings: Any,
    ) -> Outcome:
        config = self.config(**settings)
        store = StudyStore.open(self.home, config, "digest")
        supervisor = Supervisor(
            config,
            store,
            TrialRecords(self.home.study("s")),
            executor,
            self.sender,
            self.reporter,
            self.prepare,
            clock=clock,
        )
        if signals:
            executor.on_epoch = lambda number, epoch: (
                supervisor.receive_signal(signals[number, epoch]) if (number, epoch) in signals else None
            )
        return supervisor.run(show)

    @property
    def view(self) -> StudyView:
        return view(self.home, "s")

    def states(self) -> list[State]:
        return [row.state for row in self.view.trials]
