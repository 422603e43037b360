"""The lost end of a finished trial's events, in a study with several objectives: Optuna has no report of its epochs."""

import types
from pathlib import Path
from typing import Any

import pytest

from rnnexp.health import history
from rnnexp.health.studies import Observation, TrialSnapshot
from rnnexp.trial import events
from rnnexp.trial.events import EpochEnded, Event, Finished
from tests.study.fakes import FakeExecutor
from tests.study.small_study import SWEEP, Study

OBJECTIVES = "objective: [{metric: val_accuracy}, {metric: n_params}]\nsampler:"


class _Run(history.MlflowHistory):
    """MLflow, which has a trial's run with the metrics of some epochs, or no run."""

    def __init__(self, curve: list[EpochEnded] | None) -> None:
        self._curve = curve

    def run(self, snapshot: TrialSnapshot) -> Any:
        return None if self._curve is None else types.SimpleNamespace()

    def points(self, run: Any) -> dict[int, dict[str, tuple[float, float]]]:
        return {
            epoch.epoch: {name: (value, epoch.time) for name, value in epoch.metrics.items()}
            for epoch in self._curve or ()
        }


@pytest.fixture
def complete(tmp_path: Path) -> tuple[TrialSnapshot, list[Event]]:
    """A trial of five epochs, whose best one is the third; and all of its events."""
    study = Study(tmp_path)
    study.file.write_text(SWEEP.replace("sampler:", OBJECTIVES).replace("epochs: 3", "epochs: 5"))
    study.run(FakeExecutor(accuracy=lambda _, epoch: 0.9 - 0.1 * abs(epoch - 3)))
    study.home.study("s").sweep.write_text(study.file.read_text())
    snapshot = Observation(study.home).trials("s")[0]
    assert snapshot.trial.intermediate_values == {}
    return snapshot, events.read(snapshot.folder.events)


def _keep(snapshot: TrialSnapshot, kept: list[Event]) -> TrialSnapshot:
    snapshot.folder.events.write_text("".join(f"{events.encode(event)}\n" for event in kept))
    return TrialSnapshot(snapshot.study, snapshot.number, snapshot.folder, snapshot.state, snapshot.trial)


@pytest.mark.parametrize("n_left", [0, 1, 2, 3, 4, 5])
def test_the_whole_curve_is_restored(complete: tuple[TrialSnapshot, list[Event]], n_left: int) -> None:
    snapshot, every = complete
    damaged = _keep(snapshot, every[: 1 + n_left])
    assert "its result" in history.missing(damaged)
    restored = history.restored(damaged, _Run(events.epochs(every)))
    assert restored is not None
    assert [(epoch.epoch, epoch.metrics, epoch.best_epoch, epoch.best_value) for epoch in events.epochs(restored)] == [
        (epoch.epoch, epoch.metrics, epoch.best_epoch, epoch.best_value) for epoch in events.epochs(every)
    ]
    (result,) = [event for event in restored if isinstance(event, Finished)]
    assert (result.best_epoch, result.ended) == (3, "epochs")


@pytest.mark.parametrize("n_left", [0, 1, 2, 3, 4])
def test_a_curve_whose_end_mlflow_does_not_have_is_lost(
    complete: tuple[TrialSnapshot, list[Event]], n_left: int
) -> None:
    snapshot, every = complete
    damaged = _keep(snapshot, every[: 1 + n_left])
    assert "its result" in history.missing(damaged)
    assert history.restored(damaged, _Run(None)) is None
    assert history.restored(damaged, _Run(events.epochs(every)[:n_left])) is None
