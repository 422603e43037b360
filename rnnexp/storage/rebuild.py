"""A study built anew in Optuna's database from its folder: the sweep file, the trials' settings, their events.

For a database that is lost. What a trial drew follows from its settings, its state and reports from its events; what
Optuna alone knew (the sampler's own notes) is nothing that a study needs.
"""

import datetime
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.trial import TrialState

from rnnexp import space as spaces
from rnnexp.config.load import load_sweep
from rnnexp.config.sweep import GridSampler, SweepConfig
from rnnexp.config.trial import TrialConfig, load_trial
from rnnexp.errors import RnnexpError, StudyError
from rnnexp.home import Home, StudyFolder
from rnnexp.storage import sampling
from rnnexp.storage.metadata import StudyMetadata
from rnnexp.storage.store import ATTEMPTS, DEATHS, SUMMARY, create_or_load, describe, open_storage, save_metadata
from rnnexp.trial import events
from rnnexp.trial.events import AttemptEnded, EpochEnded, Event, Finished, Started
from rnnexp.trial.states import FINISHED, State


def rebuild(home: Home, name: str, identity: str | None) -> int:
    """Builds a study anew, or adds to it the trials that it lacks; the caller holds its lock.

    Args:
        home: where.
        name: of the study.
        identity: what its runs in MLflow say; used where its folder does not say it.

    Returns:
        How many trials were added.

    Raises:
        RnnexpError: if the folder does not suffice, with what is missing.
    """
    folder = home.study(name)
    config = load_sweep(folder.sweep)
    if config.study != name:
        raise StudyError(f"{folder.sweep}: is of study {config.study}, not {name}")
    study = create_or_load(open_storage(home), config)
    if not study.user_attrs:
        known = StudyMetadata.load(folder.about)
        describe(study, config, known or StudyMetadata(identity or name, _data_digest(folder, config), []))
    present = {trial.number: dict(trial.params) for trial in study.get_trials(deepcopy=False)}
    missing = [number for number in range(max(folder.numbers(), default=-1) + 1) if number not in present]
    for number in missing:
        if number != len(present):
            raise StudyError(f"study {name}: trial {number} can only be added after all before it")
        trial = _trial(folder, number, config) or _not_drawn(number, config, list(present.values()))
        study.add_trial(trial)
        present[number] = dict(trial.params)
    save_metadata(home, study)
    return len(missing)


def _data_digest(folder: StudyFolder, config: SweepConfig) -> str:
    """Returns the digest of the data that the base settings name, as a trial on the same data recorded it."""
    for number in folder.numbers():
        trial = folder.trial(number)
        try:
            same = load_trial(trial.config, {}).data == config.base.data
        except RnnexpError:
            continue
        for event in events.read(trial.events):
            if same and isinstance(event, Started) and "digest" in event.data:
                return str(event.data["digest"])
    raise StudyError(f"study {config.study}: no trial of it says which data it was begun with")


def _trial(folder: StudyFolder, number: int, config: SweepConfig) -> optuna.trial.FrozenTrial | None:
    """Returns a trial from its folder, None where the folder does not say its settings."""
    try:
        settings = load_trial(folder.trial(number).config, {})
    except RnnexpError:
        return None
    happened = events.read(folder.trial(number).events)
    drawn = drawn_settings(config, settings)
    curve = events.epochs(happened)
    state, value, reason = _outcome(happened, curve, config)
    attributes: dict[str, Any] = {ATTEMPTS: _attempts(happened)}
    n_crashes = events.n_crashes(happened)
    if n_crashes:
        attributes[DEATHS] = n_crashes
    if state in FINISHED:
        attributes[SUMMARY] = events.summary(curve, value, reason)
    trial = optuna.trial.create_trial(
        state=TrialState[state.value],
        value=value,
        params=drawn,
        distributions={name: sampling.distribution(config.space[name]) for name in drawn},
        user_attrs=attributes,
        intermediate_values={epoch.epoch: epoch.best_value for epoch in curve},
    )
    if happened and state in FINISHED:
        trial.datetime_start = datetime.datetime.fromtimestamp(happened[0].time)
        trial.datetime_complete = datetime.datetime.fromtimestamp(max(event.time for event in happened))
    return trial


def drawn_settings(config: SweepConfig, settings: TrialConfig) -> dict[str, Any]:
    """Returns those of a trial's settings that were drawn: the searched ones that apply."""
    values = settings.settings()
    outside = {name: value for name, value in values.items() if name not in config.space}
    drawn: dict[str, Any] = {}
    for name in spaces.ordered(config.space):
        if spaces.applies(config.space[name], outside | drawn):
            drawn[name] = values[name]
    return drawn


def _outcome(happened: list[Event], curve: list[EpochEnded], config: SweepConfig) -> tuple[State, float | None, str]:
    """Returns a trial's state, value and reason; a result that nobody has settled waits to be settled."""
    closed = next((event for event in reversed(happened) if isinstance(event, AttemptEnded)), None)
    state = State(closed.state) if closed and closed.state in FINISHED else State.WAITING
    if closed is None or state not in (State.COMPLETE, State.PRUNED):
        return state, None, closed.reason if closed else ""
    finished = next((event for event in reversed(happened) if isinstance(event, Finished)), None)
    if finished is None:
        return State.WAITING, None, ""
    # A pruned trial's value is its last report; both are the objective at the best epoch.
    return state, finished.metrics[config.objective.metric], closed.reason


def _attempts(happened: list[Event]) -> int:
    said = [event.attempt for event in happened if isinstance(event, Started)]
    said += [event.attempts for event in happened if isinstance(event, AttemptEnded)]
    return max(said, default=0)


def _not_drawn(number: int, config: SweepConfig, others: list[Mapping[str, Any]]) -> optuna.trial.FrozenTrial:
    """Returns a waiting trial in the place of one whose folder is gone; it is run when its turn comes."""
    given: Mapping[str, Any] | None = config.tries[number] if number < len(config.tries) else None
    if given is None and isinstance(config.sampler, GridSampler):
        points = spaces.grid(config.space, config.base.settings())
        given = next((point for point in points if point not in others), None)
    return optuna.trial.create_trial(
        state=TrialState.WAITING, system_attrs={"fixed_params": dict(given)} if given is not None else {}
    )
