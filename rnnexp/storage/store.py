"""A study in Optuna's database: the truth about which trials there are and what became of them.

One supervisor writes, from one thread. A trial that was interrupted is set back to WAITING: the next `ask` returns the
same number with its settings and reports.
"""

import contextlib
import itertools
import json
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import optuna
from optuna.trial import TrialState

from rnnexp import disk, locks
from rnnexp import space as spaces
from rnnexp.config.sweep import GridSampler, SweepConfig, differences, fingerprint, with_defaults
from rnnexp.config.trial import TrialConfig
from rnnexp.errors import StudyError, did_you_mean
from rnnexp.home import Home
from rnnexp.storage import sampling, space_versions, sqlite
from rnnexp.storage.metadata import StudyMetadata
from rnnexp.trial.states import FINISHED, State

optuna.logging.set_verbosity(optuna.logging.ERROR)

_DEFINITION, _ABOUT = "rnnexp:definition", "rnnexp:about"
_IDENTITY = "rnnexp:identity"
ATTEMPTS, DEATHS, SUMMARY = "rnnexp:attempts", "rnnexp:deaths", "rnnexp:summary"


@dataclass(frozen=True)
class TrialRequest:
    """A trial to run.

    Attributes:
        number: the trial's.
        settings: what was drawn from the search space.
        config: all settings.
        attempt: from 1.
        n_crashes: attempts whose process died of itself.
    """

    number: int
    settings: dict[str, Any]
    config: TrialConfig
    attempt: int
    n_crashes: int = 0


@dataclass(frozen=True)
class FinishedTrial:
    """A trial that has ended for good.

    Attributes:
        number: the trial's.
        state: COMPLETE, PRUNED or FAIL.
        value: the objective, None for FAIL.
        reason: why it was pruned or failed.
        attempts: starts.
        seconds: spent in epochs.
        ended: when, in seconds since 1970.
    """

    number: int
    state: State
    value: float | None
    reason: str
    attempts: int
    seconds: float
    ended: float


@contextlib.contextmanager
def creating(home: Home) -> Iterator[None]:
    """Held while a database's tables are created: several processes that create one SQLite file at once crash."""
    with locks.held(home.stores_lock):
        yield


@lru_cache(maxsize=4)
def open_storage(home: Home) -> optuna.storages.RDBStorage:
    """Opens Optuna's database in the home, creating it where needed."""
    with creating(home):
        if not home.optuna_db.exists():
            sqlite.use_wal(home.optuna_db)
        sqlite.commit_without_waiting()
        patient = {"connect_args": {"timeout": sqlite.LOCK_TIMEOUT_S}}
        return optuna.storages.RDBStorage(home.optuna_url, engine_kwargs=patient)


class StudyStore:
    """One study, open for its supervisor; it knows the number of trials in each state without asking Optuna."""

    def __init__(self, study: optuna.Study, config: SweepConfig, sync: Callable[[], None] = lambda: None) -> None:
        """Args:
        study: Optuna's, open.
        config: what is searched.
        sync: brings what was written to the disk: a trial before it begins, and what became of it.
        """
        self._study = study
        self._sync = sync
        self._storage = study._storage
        self._config = config
        self._open: dict[int, optuna.Trial] = {}
        self._asked: dict[int, TrialRequest] = {}
        self._reported: dict[int, set[int]] = {}
        self._states = {trial.number: State(trial.state.name) for trial in study.get_trials(deepcopy=False)}
        self.counts: Counter[State] = Counter(self._states.values())

    @classmethod
    def open(cls, home: Home, config: SweepConfig, data_digest: str) -> "StudyStore":
        """Opens the study that the config names, creating it where there is none.

        A wider range or a further choice than before is taken in as a new version of the search space.

        Args:
            home: where.
            config: what is searched.
            data_digest: of the data that the base settings name.

        Raises:
            StudyError: if there is a study of that name with another definition.
        """
        if home.study(config.study).deleted.exists():
            raise StudyError(
                f"study {config.study}: its deletion was cut off; `rnnexp doctor --repair` finishes it, then begin anew"
            )
        storage = open_storage(home)
        study = create_or_load(storage, config)
        definition = json.loads(json.dumps(config.definition() | {"data_digest": data_digest}))
        stored = study.user_attrs.get(_DEFINITION)
        if stored is None:
            study.set_user_attr(_IDENTITY, uuid.uuid4().hex)
            study.set_user_attr(_DEFINITION, definition)
        elif fingerprint(stored) != fingerprint(definition):
            attributes = _new_version(study, stored, definition, config)
            space_versions.rewrite(storage, study._study_id, config.space, attributes)
            study = create_or_load(storage, config)
        study.set_user_attr(_ABOUT, {"n_trials": config.n_trials})
        save_metadata(home, study)
        return cls(study, config, lambda: sqlite.sync(home.optuna_db))

    @classmethod
    def in_memory(cls, config: SweepConfig) -> "StudyStore":
        """Opens a new study that nothing stores: for drawing sample trials."""
        return cls(optuna.create_study(), config)

    def _set(self, number: int, state: State) -> None:
        if number in self._states:
            self.counts[self._states[number]] -= 1
        self._states[number] = state
        self.counts[state] += 1

    @property
    def identity(self) -> str:
        """What tells this study from others of its name, before and after it."""
        return identity(self._study)

    @property
    def n_finished(self) -> int:
        """The trials that have ended for good."""
        return sum(self.counts[state] for state in FINISHED)

    def finished(self) -> list[FinishedTrial]:
        """Returns the trials that have ended for good."""
        rows = []
        for trial in self._study.get_trials(deepcopy=False):
            if trial.state.name in FINISHED:
                summary = trial.user_attrs.get(SUMMARY, {})
                rows.append(
                    FinishedTrial(
                        number=trial.number,
                        state=State(trial.state.name),
                        value=trial.value,
                        reason=summary.get("reason") or "",
                        attempts=trial.user_attrs.get(ATTEMPTS, 1),
                        seconds=summary.get("duration_s") or 0.0,
                        ended=trial.datetime_complete.timestamp() if trial.datetime_complete else 0.0,
                    )
                )
        return rows

    def ask(self) -> TrialRequest | None:
        """Returns the next trial: one that waits, else a new one; None where a grid has no more.

        Whether the budget allows a new one is the caller's to know.
        """
        number = len(self._states)
        if self.counts[State.WAITING]:
            number = min(number for number, state in self._states.items() if state is State.WAITING)
        else:
            given = self._given()
            if given is None and isinstance(self._config.sampler, GridSampler):
                return None
            if given is not None:
                self._study.enqueue_trial(given)
                self._set(number, State.WAITING)
        self._study.sampler = sampling.sampler(self._config.sampler, number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            trial = self._study.ask()
            self._set(trial.number, State.RUNNING)
            settings = sampling.suggest(trial, self._config.space, self._config.base.settings())
        attempt = trial.user_attrs.get(ATTEMPTS, 0) + 1
        trial.set_user_attr(ATTEMPTS, attempt)
        self._open[trial.number] = trial
        config, n_crashes = self._config.base.with_settings(settings), trial.user_attrs.get(DEATHS, 0)
        asked = TrialRequest(trial.number, settings, config, attempt, n_crashes)
        self._asked[trial.number] = asked
        self._reported[trial.number] = set() if attempt == 1 else set(self._stored(trial).intermediate_values)
        self._sync()
        return asked

    def _stored(self, trial: optuna.Trial) -> optuna.trial.FrozenTrial:
        return self._storage.get_trial(trial._trial_id)

    def _given(self) -> dict[str, Any] | None:
        """Returns settings that are not drawn: the next of `try`, then of a grid; None where there is none."""
        if len(self._states) < len(self._config.tries):
            return self._config.tries[len(self._states)]
        if not isinstance(self._config.sampler, GridSampler):
            return None
        done = [trial.params for trial in self._study.get_trials(deepcopy=False)]
        points = spaces.grid(self._config.space, self._config.base.settings())
        # `try` may have run some points already; the rest follow in the grid's order.
        candidates = itertools.islice(points, len(done) + 1)
        return next((point for point in candidates if point not in done), None)

    def is_behind(self, number: int, epoch: int) -> bool:
        """Tells whether a later epoch was reported: a trial whose checkpoint was damaged trains its epochs again."""
        return any(later > epoch for later in self._reported[number])

    def report(self, number: int, epoch: int, value: float) -> bool:
        """Reports the best value so far after an epoch; tells whether the trial should be pruned."""
        trial = self._open[number]
        if epoch not in self._reported[number]:
            trial.report(value, epoch)
            self._reported[number].add(epoch)
        return epoch < self._asked[number].config.train.epochs and trial.should_prune()

    def tell(self, number: int, state: State, value: float | None, summary: dict[str, Any]) -> None:
        """Ends a trial for good.

        Args:
            number: the trial's.
            state: COMPLETE, PRUNED or FAIL.
            value: the objective at the best epoch; for FAIL there is none.
            summary: what a list of trials shows: best epoch, metrics, duration, reason.
        """
        trial = self._open.pop(number)
        trial.set_user_attr(SUMMARY, summary)
        values = [value] if state is State.COMPLETE and value is not None else None
        self._study.tell(trial, values=values, state=TrialState[state.value])
        self._sync()
        self._forget(number, state)

    def requeue(self, number: int, *, crashed: bool) -> None:
        """Sets a running trial back to WAITING; it keeps its number, settings and reports.

        Args:
            number: the trial's.
            crashed: whether its process ended of itself, which spends one of its retries.
        """
        trial = self._open.pop(number)
        if crashed:
            trial.set_user_attr(DEATHS, self._asked[number].n_crashes + 1)
        self._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
        self._sync()
        self._forget(number, State.WAITING)

    def _forget(self, number: int, state: State) -> None:
        """A trial runs no more."""
        self._set(number, state)
        del self._asked[number], self._reported[number]

    @property
    def waiting(self) -> list[int]:
        """The trials that are to go on, or to begin."""
        return sorted(number for number, state in self._states.items() if state is State.WAITING)

    def requeue_running(self) -> list[int]:
        """Sets every trial that a dead supervisor left RUNNING back to WAITING; returns their numbers."""
        left = requeue_running_trials(self._study)
        for number in left:
            self._set(number, State.WAITING)
        return left


def requeue_running_trials(study: optuna.Study) -> list[int]:
    """Sets every RUNNING trial back to WAITING, for whoever holds the study's lock; returns their numbers."""
    left = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for trial in left:
        study._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
    return [trial.number for trial in left]


def about(study: optuna.Study) -> StudyMetadata:
    """Returns what Optuna's database alone says of a study."""
    return StudyMetadata(
        identity(study), str(definition(study).get("data_digest", "")), study.user_attrs.get(space_versions.LINEAGE, [])
    )


def save_metadata(home: Home, study: optuna.Study) -> None:
    """Writes it beside the trials' folders too, so that the study can be built anew without the database."""
    path, found = home.study(study.study_name).about, about(study)
    if StudyMetadata.load(path) != found:
        disk.write_text(path, json.dumps(asdict(found)))


def describe(study: optuna.Study, config: SweepConfig, found: StudyMetadata) -> None:
    """Writes into a new study what tells which one it is and what it was begun with."""
    study.set_user_attr(_IDENTITY, found.identity)
    study.set_user_attr(_DEFINITION, json.loads(json.dumps(config.definition() | {"data_digest": found.data_digest})))
    if found.lineage:
        study.set_user_attr(space_versions.LINEAGE, found.lineage)
    study.set_user_attr(_ABOUT, {"n_trials": config.n_trials})


def _most_epochs(config: SweepConfig) -> int:
    """Returns the epochs of the longest trial that the space allows."""
    searched = config.space.get("train.epochs")
    return max(int(value or 0) for value in searched.extremes()) if searched else config.base.train.epochs


def create_or_load(storage: optuna.storages.RDBStorage, config: SweepConfig) -> optuna.Study:
    """Opens the study in Optuna, creating it where there is none."""
    return optuna.create_study(
        storage=storage,
        study_name=config.study,
        direction=config.objective.direction,
        load_if_exists=True,
        sampler=sampling.sampler(config.sampler, 0),
        pruner=sampling.pruner(config.pruner, _most_epochs(config)),
    )


def _new_version(
    study: optuna.Study, stored: dict[str, Any], wanted: dict[str, Any], config: SweepConfig
) -> dict[str, Any]:
    """Returns the attributes of a study that goes on with a changed definition; raises where it cannot."""
    before = with_defaults(stored, config)
    other = differences({**before, "space": {}}, {**wanted, "space": {}})
    wider, faults = space_versions.changes(before["space"], config.space)
    if other or faults:
        raise StudyError(_changed(config.study, [*other, *faults]))
    if not wider:
        return {_DEFINITION: wanted}  # a newer version of the program knows more settings
    return {_DEFINITION: wanted, space_versions.LINEAGE: space_versions.append_space_version(study, wider)}


def _changed(name: str, changes: list[str]) -> str:
    shown = "; ".join(changes[:6]) + ("; …" if len(changes) > 6 else "")
    return (
        f"study {name} was begun with other settings: {shown}; undo the change to go on with it (a wider range or a "
        f"further choice is taken in), or begin another study with --study NAME"
    )


def load_study(home: Home, name: str) -> optuna.Study:
    """Opens a study for reading.

    Raises:
        StudyError: if there is none of that name.
    """
    known = study_names(home)
    if name not in known:
        hint = did_you_mean(name, known) if known else "; there is none yet, begin one with `rnnexp sweep FILE`"
        raise StudyError(f"no study {name} in {home.root}{hint}")
    return optuna.load_study(study_name=name, storage=open_storage(home))


def study_names(home: Home) -> list[str]:
    """Returns the studies' names, oldest first; none where there is no home."""
    if not home.optuna_db.exists():
        return []
    return list(optuna.get_all_study_names(open_storage(home)))


def delete_study(home: Home, name: str) -> None:
    """Deletes a study from Optuna's database, if it is there."""
    if name in study_names(home):
        optuna.delete_study(study_name=name, storage=open_storage(home))


def definition(study: optuna.Study) -> dict[str, Any]:
    """Returns the definition that a study was begun with."""
    found: dict[str, Any] = study.user_attrs.get(_DEFINITION, {})
    return found


def identity(study: optuna.Study) -> str:
    """Returns what tells a study from others of its name, before and after it."""
    return str(study.user_attrs.get(_IDENTITY, study.study_name))


def n_trials(study: optuna.Study) -> int | None:
    """Returns the study's budget as of its last start."""
    found: int | None = study.user_attrs.get(_ABOUT, {}).get("n_trials")
    return found
