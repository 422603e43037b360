"""Reads studies as plain values, for lists and analysis. Nothing here writes."""

import math
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

from rnnexp.errors import UserError
from rnnexp.home import Home, StudyFolder
from rnnexp.storage import bulk_reader, metadata
from rnnexp.storage.bulk_reader import StoredStudy, StoredTrial, Tables
from rnnexp.storage.metadata import SpaceVersion, StudyHome
from rnnexp.storage.ranking import Ranking, Score, found
from rnnexp.storage.study_lock import Owner, local_owner, shared_owner
from rnnexp.trial import events
from rnnexp.trial.cursor import Cursor
from rnnexp.trial.states import FINISHED, State


@dataclass(frozen=True)
class TrialRow:
    """One trial: a row in a list of trials.

    Attributes:
        number: from 0.
        state: the trial's state.
        value: the first objective at the best epoch; for an unfinished or pruned trial, the best until now or then.
        best_epoch: from 1.
        settings: the values that were drawn from the search space.
        metrics: the metrics at the best epoch.
        costs: what the trial cost: `train_seconds`, `n_params`, `ms_per_text`; empty if an earlier version trained it.
        duration_s: time spent in epochs, over all attempts.
        attempts: number of attempts.
        run_id: the id of the MLflow run; None if there is no run yet or the caller did not ask for it.
        reason: why the trial was pruned, failed or waits; None if there is no reason to show.
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
    costs: dict[str, float] = field(default_factory=dict)

    @property
    def is_paused(self) -> bool:
        """Whether the trial is paused: it resumes when its rung admits it."""
        return self.state is State.WAITING and (self.reason or "").startswith(events.PAUSED)


@dataclass(frozen=True)
class StudyView:
    """A study with its trials.

    Attributes:
        name: the study's name.
        identity: distinguishes it from earlier and later studies of the same name.
        metric: the first objective's metric.
        direction: `maximize` or `minimize`, of the first objective.
        definition: the settings that must not change while the study lasts.
        n_trials: the budget.
        owner: the supervisor that runs it now, or None.
        trials: all trials, ordered by number.
        folder: the files of its trials; those of a study of another home have to be fetched first.
        space_versions: the versions of its search space from 2 on; empty if the space never changed.
        origin: the other home that has the files of its trials; None if this one has them.
    """

    name: str
    identity: str
    metric: str
    direction: str
    definition: dict[str, Any]
    n_trials: int | None
    owner: Owner | None
    trials: tuple[TrialRow, ...]
    folder: StudyFolder
    space_versions: tuple[SpaceVersion, ...] = ()
    origin: StudyHome | None = None

    @property
    def question(self) -> str:
        """The question of its sweep file; empty if it has none, or the file is not there."""
        from rnnexp.config.files import load_mapping  # lists need no YAML

        try:
            return str(load_mapping(self.folder.sweep).get("question") or "")
        except UserError:
            return ""

    @cached_property
    def ranked(self) -> list[TrialRow]:
        """The complete and pruned trials, best first.

        The value of a pruned trial is the best until it was stopped, so its rank is not final: lists say so.
        """
        by_number = {row.number: row for row in self.trials}
        return [by_number[number] for number in self.ranking.order(self._scores)]

    @cached_property
    def front(self) -> list[TrialRow]:
        """With several objectives: the trials that no other one beats; with one objective there is none."""
        by_number = {row.number: row for row in self.trials}
        return [by_number[number] for number in self.ranking.front(self._scores)] if self.ranking.has_front else []

    def best_in(self, metric: str) -> TrialRow:
        """Returns the trial of the front that is best in one of the objectives; without a front, the best trial."""
        if metric == self.metric or not self.front:
            return self.ranked[0]
        sign = 1.0 if self.ranking.directions[self.ranking.metrics.index(metric)] == "maximize" else -1.0

        def value(row: TrialRow) -> float:
            of_row = self.further_values(row)[metric]
            return -math.inf if of_row is None else sign * of_row

        return max(self.front, key=value)

    def place(self, row: TrialRow) -> str:
        """Returns `front` for a trial of the front, `outside` for one that violates a constraint, else nothing."""
        score = self._scores.get(row.number)
        if score is not None and score.violation:
            return "outside"
        return "front" if row.number in self._front_numbers else ""

    def plain(self, row: TrialRow) -> dict[str, Any]:
        """Returns a trial for JSON; with costs and place only in a study whose ranking depends on them."""
        fields = asdict(row)
        costs = fields.pop("costs")
        return fields | ({"costs": costs, "place": self.place(row)} if self.ranking.has_places else {})

    def further_values(self, row: TrialRow) -> dict[str, float | None]:
        """Returns the values of the objectives after the first one, by metric."""
        summary = {"metrics": row.metrics, "costs": row.costs}
        return {metric: found(metric, summary) for metric in self.ranking.metrics[1:]}

    @cached_property
    def _front_numbers(self) -> set[int]:
        return {row.number for row in self.front}

    @cached_property
    def ranking(self) -> Ranking:
        """The objectives and constraints."""
        stored = self.definition.get("objective")
        one = {"metric": self.metric, "direction": self.direction}
        return Ranking.of({**self.definition, "objective": stored if isinstance(stored, list) else one})

    @cached_property
    def _scores(self) -> dict[int, Score]:
        return {
            row.number: self.ranking.score(row.value, {"metrics": row.metrics, "costs": row.costs})
            for row in self.trials
            if row.value is not None and row.state in FINISHED
        }

    @property
    def best(self) -> TrialRow | None:
        """The best complete or pruned trial, or None. A pruned one is the best so far, and has a model to export."""
        return next(iter(self.ranked), None)

    def count(self, state: State) -> int:
        return sum(row.state is state for row in self.trials)

    @property
    def n_finished(self) -> int:
        return sum(self.count(state) for state in FINISHED)


def view(home: Home, name: str, *, with_runs: bool = True) -> StudyView:
    """Reads a study.

    Args:
        home: holds the study.
        name: the study's name.
        with_runs: whether to read the id of each trial's MLflow run, too; each is in a file of its own.

    Raises:
        StudyError: if there is no study of that name.
    """
    with bulk_reader.open_tables(home) as tables:
        bulk_reader.check_exists(home, name, tables.study_names())
        stored = _read(home, tables, name)
    return _view(home, *stored, with_runs)


def add_runs(study: StudyView) -> StudyView:
    """Returns a view with the id of each trial's MLflow run, as it is now."""
    rows = (replace(row, run_id=Cursor.load(study.folder.trial(row.number).tracking).run_id) for row in study.trials)
    return replace(study, trials=tuple(rows))


def views(home: Home, *, with_runs: bool = True) -> list[StudyView]:
    """Reads all studies, oldest first."""
    with bulk_reader.open_tables(home) as tables:
        stored = [_read(home, tables, name) for name in tables.study_names()]
    return [_view(home, *one, with_runs) for one in stored]


def _read(home: Home, tables: Tables, name: str) -> tuple[StoredStudy, list[StoredTrial], str | None]:
    study = tables.study(name)
    # The curves of unfinished trials are in their events, which only their own home has.
    trials = tables.trials(name, with_reports=metadata.other_home(home, study) is not None)
    return study, trials, tables.lock_holder(name)


def _view(
    home: Home, study: StoredStudy, trials: list[StoredTrial], lock_holder: str | None, with_runs: bool
) -> StudyView:
    origin = metadata.other_home(home, study)
    identity = metadata.identity(study)
    folder = home.study(study.study_name) if origin is None else home.fetched(identity)
    definition = metadata.definition(study)
    return StudyView(
        name=study.study_name,
        identity=identity,
        metric=Ranking.of(definition).metrics[0],
        direction=study.direction,
        definition=definition,
        n_trials=metadata.n_trials(study),
        owner=local_owner(home, study.study_name) or shared_owner(lock_holder),
        trials=tuple(_trial_row(folder, trial, with_runs, is_own=origin is None) for trial in trials),
        folder=folder,
        origin=origin,
        space_versions=metadata.space_versions(study),
    )


def _trial_row(folder: StudyFolder, trial: StoredTrial, with_runs: bool, *, is_own: bool) -> TrialRow:
    summary = trial.user_attrs.get(metadata.SUMMARY, {})
    state = trial.state
    best_epoch, metrics, duration = summary.get("best_epoch"), summary.get("metrics", {}), summary.get("duration_s")
    reason, value = summary.get("reason"), trial.value
    if state not in FINISHED and not is_own and trial.intermediate_values:
        value = list(trial.intermediate_values.values())[-1]  # each is the best so far
        best_epoch = next(epoch for epoch, best in trial.intermediate_values.items() if best == value)
    elif state not in FINISHED:
        trial_events = events.read(folder.trial(trial.number).events)
        curve = events.epochs(trial_events)
        duration = sum(epoch.seconds for epoch in curve)
        ended_attempts = [event for event in trial_events if isinstance(event, events.AttemptEnded)]
        reason = ended_attempts[-1].reason if ended_attempts and state is State.WAITING else None
        if curve:
            value, best_epoch = curve[-1].best_value, curve[-1].best_epoch
            metrics = next((epoch.metrics for epoch in curve if epoch.epoch == best_epoch), {})
    return TrialRow(
        number=trial.number,
        state=state,
        value=value,
        best_epoch=best_epoch,
        settings=trial.params,
        metrics=metrics,
        duration_s=round(duration or 0.0, 3),
        attempts=trial.user_attrs.get(metadata.ATTEMPTS, 0),
        run_id=Cursor.load(folder.trial(trial.number).tracking).run_id if with_runs else None,
        reason=reason or None,
        costs=summary.get("costs", {}),
    )
