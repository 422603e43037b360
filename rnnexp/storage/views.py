"""Studies as plain values, for listing and analysis; nothing here writes."""

import warnings
from dataclasses import dataclass
from typing import Any

import optuna

from rnnexp.home import Home, StudyFolder
from rnnexp.storage import bulk_reader
from rnnexp.storage import store as stores
from rnnexp.storage.space_versions import SpaceVersion, versions
from rnnexp.storage.study_lock import Owner, lock_owner
from rnnexp.trial import events
from rnnexp.trial.cursor import Cursor
from rnnexp.trial.states import FINISHED, State

_FEW = 10


@dataclass(frozen=True)
class TrialRow:
    """One trial, as lists show it.

    Attributes:
        number: from 0.
        state: Optuna's name.
        value: the objective at the best epoch; of a running trial, the best so far.
        best_epoch: from 1.
        settings: what was drawn from the search space.
        metrics: at the best epoch.
        duration_s: spent in epochs, over all attempts.
        attempts: starts.
        run_id: of the MLflow run, None while there is none, and where it was not asked for.
        reason: why the trial was pruned, failed or waits; None where there is nothing to say.
    """

    number: int
    state: State
    value: float | None
    best_epoch: int | None
    settings: dict[str, Any]
    metrics: dict[str, float]
    duration_s: float
    attempts: int
    run_id: str | None
    reason: str | None


@dataclass(frozen=True)
class StudyView:
    """A study with its trials.

    Attributes:
        name: the study's.
        identity: tells it from others of its name, before and after it.
        metric: of the objective.
        direction: `maximize` or `minimize`.
        definition: what it was begun with.
        n_trials: its budget.
        owner: who runs it now, or None.
        trials: by number.
        space_versions: the later versions of its search space, where it became wider.
    """

    name: str
    identity: str
    metric: str
    direction: str
    definition: dict[str, Any]
    n_trials: int | None
    owner: Owner | None
    trials: tuple[TrialRow, ...]
    space_versions: tuple[SpaceVersion, ...] = ()

    @property
    def ranked(self) -> list[TrialRow]:
        """The trials with a value that counts, best first; complete ones and pruned ones alike."""
        sign = -1 if self.direction == "maximize" else 1
        valued = [row for row in self.trials if row.value is not None and row.state in FINISHED]
        return sorted(valued, key=lambda row: (sign * (row.value or 0.0), row.number))

    @property
    def best(self) -> TrialRow | None:
        """The best trial, or None."""
        return next(iter(self.ranked), None)

    def count(self, state: State) -> int:
        return sum(row.state is state for row in self.trials)

    @property
    def n_finished(self) -> int:
        return sum(self.count(state) for state in FINISHED)


def view(home: Home, name: str, *, with_runs: bool = True) -> StudyView:
    """Reads a study.

    Args:
        home: where.
        name: the study's.
        with_runs: whether each trial's run in MLflow is wanted too, which is in a file of each.

    Raises:
        StudyError: if there is none of that name.
    """
    return _view(home, stores.load_study(home, name), with_runs)


def views(home: Home, *, with_runs: bool = True) -> list[StudyView]:
    """Reads all studies, oldest first."""
    return [view(home, name, with_runs=with_runs) for name in stores.study_names(home)]


def _view(home: Home, study: optuna.Study, with_runs: bool) -> StudyView:
    folder = home.study(study.study_name)
    definition = stores.definition(study)
    return StudyView(
        name=study.study_name,
        identity=stores.identity(study),
        metric=definition.get("objective", {}).get("metric", "val_accuracy"),
        direction=study.direction.name.lower(),
        definition=definition,
        n_trials=stores.n_trials(study),
        owner=lock_owner(folder.lock),
        trials=tuple(_row(folder, trial, with_runs) for trial in bulk_reader.read(home, study.study_name)),
        space_versions=versions(study),
    )


def _row(folder: StudyFolder, trial: Any, with_runs: bool) -> TrialRow:
    summary = trial.user_attrs.get(stores.SUMMARY, {})
    state = State(trial.state.name)
    best_epoch, metrics, duration = summary.get("best_epoch"), summary.get("metrics", {}), summary.get("duration_s")
    reason, value = summary.get("reason"), trial.value
    if state not in FINISHED:
        happened = events.read(folder.trial(trial.number).events)
        curve = events.epochs(happened)
        duration = sum(epoch.seconds for epoch in curve)
        closed = [event for event in happened if isinstance(event, events.AttemptEnded)]
        reason = closed[-1].reason if closed and state is State.WAITING else None
        if curve:
            value, best_epoch = curve[-1].best_value, curve[-1].best_epoch
            metrics = next((epoch.metrics for epoch in curve if epoch.epoch == best_epoch), {})
    return TrialRow(
        number=trial.number,
        state=state,
        value=value,
        best_epoch=best_epoch,
        settings=dict(trial.params),
        metrics=metrics,
        duration_s=round(duration or 0.0, 3),
        attempts=trial.user_attrs.get(stores.ATTEMPTS, 0),
        run_id=Cursor.load(folder.trial(trial.number).tracking).run_id if with_runs else None,
        reason=reason or None,
    )


def importances(home: Home, name: str) -> dict[str, float]:
    """Returns the share of the objective's variation that each setting explains, largest first.

    Empty where nothing varied, or the study has fewer than 10 complete trials: of so few the shares say nothing.
    """
    complete = [trial for trial in bulk_reader.read(home, name) if trial.state == optuna.trial.TrialState.COMPLETE]
    if len(complete) < _FEW:
        return {}
    study = optuna.create_study(direction=stores.load_study(home, name).direction)
    study.add_trials(complete)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = optuna.importance.get_param_importances(study)
    except (ValueError, RuntimeError):
        return {}
    return {setting: float(share) for setting, share in found.items()}
