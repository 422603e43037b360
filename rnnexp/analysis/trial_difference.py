"""How two trials differ: settings, result, curves and environment."""

from dataclasses import dataclass
from typing import Any

from rnnexp.config.trial import load_trial
from rnnexp.home import TrialFolder
from rnnexp.storage.views import StudyView, TrialRow
from rnnexp.trial import events
from rnnexp.trial.events import EpochEnded, Started

_ENVIRONMENT = ("processor", "device", "kernel", "threads", "tensorflow", "keras", "numba", "blas")


@dataclass(frozen=True)
class TrialDifference:
    """Two trials side by side; a pair has the value of the first and of the second one.

    Attributes:
        settings: those that differ.
        result: value, best epoch, epochs, time.
        curves: for each epoch that either has, the metric of both.
        environment: what differs of machine, versions and data.
    """

    settings: dict[str, tuple[Any, Any]]
    result: dict[str, tuple[Any, Any]]
    curves: list[tuple[int, float | None, float | None]]
    environment: dict[str, tuple[Any, Any]]


def difference(study: StudyView, first: TrialRow, second: TrialRow) -> TrialDifference:
    """Compares two trials of a study by their files."""
    pair = [_Files(study.folder.trial(row.number), row) for row in (first, second)]
    length = max(len(each.curve) for each in pair)
    curves = [
        (epoch, pair[0].at(epoch, study.metric), pair[1].at(epoch, study.metric)) for epoch in range(1, length + 1)
    ]
    result = {
        study.metric: (first.value, second.value),
        "best epoch": (first.best_epoch, second.best_epoch),
        "epochs": (len(pair[0].curve), len(pair[1].curve)),
        "state": (str(first.state), str(second.state)),
        "time, s": (round(first.duration_s, 1), round(second.duration_s, 1)),
    }
    return TrialDifference(
        _differing(pair[0].settings, pair[1].settings),
        result,
        curves,
        _differing(pair[0].environment, pair[1].environment),
    )


class _Files:
    def __init__(self, folder: TrialFolder, row: TrialRow) -> None:
        history = events.read(folder.events)
        self.curve: list[EpochEnded] = events.epochs(history)
        config = load_trial(folder.config, {}).settings() if folder.config.exists() else {}
        self.settings: dict[str, Any] = {**config, **row.settings}
        started = next((event for event in reversed(history) if isinstance(event, Started)), None)
        self.environment: dict[str, Any] = {}
        if started is not None:
            self.environment = {name: started.plan.get(name) for name in _ENVIRONMENT}
            self.environment |= {"data": started.data.get("digest"), "validation rows": started.data.get("validation")}

    def at(self, epoch: int, metric: str) -> float | None:
        return next((each.metrics.get(metric) for each in self.curve if each.epoch == epoch), None)


def _differing(one: dict[str, Any], other: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    names = [*one, *(name for name in other if name not in one)]
    return {name: (one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)}
