"""Rebuilds a study in Optuna's database from its folder, after the database was lost.

The folder has the sweep file and, for each trial, its settings and events. The drawn values follow from the settings;
the state and the reports follow from the events. Only the sampler's system attributes are lost, which no study needs.
"""

import datetime
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.trial import TrialState

from rnnexp import space as spaces
from rnnexp.config.load import load_sweep
from rnnexp.config.sweep import SweepConfig
from rnnexp.config.trial import load_trial
from rnnexp.errors import RnnexpError, StudyError
from rnnexp.home import Home, StudyFolder
from rnnexp.storage import metadata, sampling
from rnnexp.storage.database import create_or_load_study, open_storage
from rnnexp.storage.metadata import ATTEMPTS, N_CRASHES, PAUSED, SUMMARY, StudyMetadata
from rnnexp.storage.ranking import Ranking
from rnnexp.storage.settings_source import FIXED, SettingsSource, equal_seconds
from rnnexp.trial import events
from rnnexp.trial.events import AttemptEnded, Event, Finished, Started
from rnnexp.trial.states import FINISHED, State


def rebuild(home: Home, name: str, identity: str | None) -> int:
    """Rebuilds a study, or adds its missing trials. The caller holds the study's lock.

    Args:
        home: holds the study's folder.
        name: the study's name.
        identity: the study's identity according to its MLflow runs; used only if nothing in the folder contains it.

    Returns:
        The number of trials that were added.

    Raises:
        RnnexpError: if the folder has too little information; the message says what is missing.
        OSError: if a file cannot be read now.
    """
    folder = home.study(name)
    config = load_sweep(folder.sweep)
    if config.study != name:
        raise StudyError(f"{folder.sweep}: belongs to study {config.study}, expected {name}")
    study = create_or_load_study(open_storage(home), config)
    metadata.claim_study(home, study)
    if not metadata.definition(study):
        saved = StudyMetadata.load(folder.about)
        if saved is None:
            identity = _recorded_identity(folder) or identity or name
            saved = StudyMetadata(identity, _data_digest(folder, config), [])
        definition = metadata.build_definition(config, saved.data_digest)
        metadata.write_definition(study, saved.identity, definition, saved.space_versions)
        metadata.write_budget(study, config.n_trials)
    known = {trial.number: dict(trial.params) for trial in study.get_trials(deepcopy=False)}
    missing = [number for number in range(max(folder.numbers(), default=-1) + 1) if number not in known]
    if missing and missing[0] != len(known):
        raise StudyError(f"study {name}: trial {missing[0]} cannot be added before trial {len(known)}")
    for number in missing:
        _check_study(folder, number, metadata.identity(study))
    loaded = {number: _load_trial(folder, number, config) for number in missing}
    settings = [*known.values(), *(trial.params for trial in loaded.values() if trial is not None)]
    source = SettingsSource(study, config, settings, equal_seconds)
    for trial in loaded.values():
        study.add_trial(trial or _waiting_trial(source.next_planned(len(settings))))
    metadata.save_metadata(home, study)
    return len(missing)


def _recorded_identity(folder: StudyFolder) -> str | None:
    """Returns the study's identity from the newest start of a trial; None if earlier versions wrote all of them."""
    starts = [
        event
        for number in folder.numbers()
        for event in events.read(folder.trial(number).events)
        if isinstance(event, Started) and event.study
    ]
    return max(starts, key=lambda event: event.time).study if starts else None


def _check_study(folder: StudyFolder, number: int, identity: str) -> None:
    trial_events = events.read(folder.trial(number).events)
    if len(events.of_study(trial_events, identity)) != len(trial_events):
        raise StudyError(
            f"{folder.trial(number).root}: another study has written it; move this folder away, then repair again"
        )


def _data_digest(folder: StudyFolder, config: SweepConfig) -> str:
    """Returns the digest of the data that the base settings name, from the events of a trial on the same data."""
    for number in folder.numbers():
        trial = folder.trial(number)
        try:
            same = load_trial(trial.config, {}).data == config.base.data
        except RnnexpError:
            continue
        for event in events.read(trial.events):
            if same and isinstance(event, Started) and "digest" in event.data:
                return str(event.data["digest"])
    raise StudyError(f"study {config.study}: no trial has recorded the digest of the study's data")


def _load_trial(folder: StudyFolder, number: int, config: SweepConfig) -> optuna.trial.FrozenTrial | None:
    """Returns a trial from its folder; None if the folder does not have the trial's settings.

    Raises:
        OSError: if the settings cannot be read now. A finished trial without them would be trained again.
    """
    path = folder.trial(number).config
    try:
        path.read_bytes()
        settings = load_trial(path, {})
    except (FileNotFoundError, RnnexpError):
        return None
    trial_events = events.read(folder.trial(number).events)
    values = settings.settings()
    drawn = spaces.applying(config.space, values, values) or {}
    state, value, reason = _outcome(trial_events, config)
    ranking, summary = Ranking.of_config(config), {}
    attributes: dict[str, Any] = {ATTEMPTS: _n_attempts(trial_events)}
    n_crashes = events.n_crashes(trial_events)
    if n_crashes:
        attributes[N_CRASHES] = n_crashes
    pause_reason = events.pause_reason(trial_events)
    if pause_reason and sampling.pauses(config.pruner):
        attributes[PAUSED] = pause_reason
    if state in FINISHED:
        attributes[SUMMARY] = summary = events.summary(trial_events, value, reason)
    trial = optuna.trial.create_trial(
        state=TrialState[state.value],
        values=None if value is None else list(ranking.values(value, summary)),
        params=drawn,
        distributions={name: sampling.distribution(config.space[name]) for name in drawn},
        user_attrs=attributes,
        system_attrs={} if value is None else _constraints(ranking, summary),
        intermediate_values={} if ranking.has_front else _reports(trial_events),
    )
    if trial_events and state in FINISHED:
        trial.datetime_start = datetime.datetime.fromtimestamp(trial_events[0].time)
        trial.datetime_complete = datetime.datetime.fromtimestamp(max(event.time for event in trial_events))
    return trial


def _outcome(trial_events: list[Event], config: SweepConfig) -> tuple[State, float | None, str]:
    """Returns a trial's state, value and reason. Without a settled result, the trial is WAITING."""
    ended = next((event for event in reversed(trial_events) if isinstance(event, AttemptEnded)), None)
    state = State(ended.state) if ended and ended.state in FINISHED else State.WAITING
    if ended is None or state not in (State.COMPLETE, State.PRUNED):
        return state, None, ended.reason if ended else ""
    finished = next((event for event in reversed(trial_events) if isinstance(event, Finished)), None)
    if finished is None:
        # A trial that diverged in its first epoch is pruned without a value.
        is_complete = state is State.PRUNED and not events.epochs(trial_events)
        return (state, None, ended.reason) if is_complete else (State.WAITING, None, "")
    # Optuna's value of a pruned trial is its last report, which is the objective at the best epoch, too.
    return state, finished.metrics[config.objective.metric], ended.reason


def _reports(trial_events: list[Event]) -> dict[int, float]:
    """Returns what the trial has reported to Optuna: its best value after each epoch."""
    return {epoch.epoch: epoch.best_value for epoch in events.epochs(trial_events)}


def _constraints(ranking: Ranking, summary: Mapping[str, Any]) -> dict[str, float]:
    """Returns the attributes in which Optuna stores by how much a trial violates the constraints."""
    return {f"constraints:{metric}": violation for metric, violation in ranking.violations(summary).items()}


def _n_attempts(trial_events: list[Event]) -> int:
    numbers = [event.attempt for event in trial_events if isinstance(event, Started)]
    numbers += [event.attempts for event in trial_events if isinstance(event, AttemptEnded)]
    return max(numbers, default=0)


def _waiting_trial(planned: Mapping[str, Any] | None) -> optuna.trial.FrozenTrial:
    """Returns a waiting trial that replaces one whose folder is lost; the study runs it later.

    Args:
        planned: settings of `try` or of a grid that no trial has; None if the sampler draws the settings.
    """
    return optuna.trial.create_trial(
        state=TrialState.WAITING, system_attrs={FIXED: dict(planned)} if planned is not None else {}
    )
