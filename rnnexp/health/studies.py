"""The studies that nobody runs, with their trials; only these are looked at and mended."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import optuna

from rnnexp import locks
from rnnexp.home import FORMER_SINGLE_RUNS, Home, TrialFolder
from rnnexp.storage import bulk_reader
from rnnexp.storage import store as stores
from rnnexp.storage.study_lock import hold_study_lock, lock_owner
from rnnexp.study.records import TrialRecords, pending_result
from rnnexp.trial import events
from rnnexp.trial.events import AttemptEnded, Event, Failed, Finished, Started
from rnnexp.trial.states import State

_SETTLED_S = 120
"""A single run has no supervisor's lock; one whose files have not changed for so long is nobody's."""


@dataclass(frozen=True)
class TrialSnapshot:
    """A trial, from its folder and, where it belongs to a study, from Optuna.

    Attributes:
        study: the name of its study.
        number: from 0.
        folder: its own.
        state: Optuna's; a single run's own.
        trial: Optuna's, None for a single run.
    """

    study: str
    number: int
    folder: TrialFolder
    state: State
    trial: optuna.trial.FrozenTrial | None

    @cached_property
    def happened(self) -> list[Event]:
        """Its events, as they are when they are first looked at; not every check does."""
        return events.read(self.folder.events)

    @property
    def where(self) -> str:
        return f"{self.study} trial {self.number}"


def folders(home: Home) -> list[str]:
    """Returns the names of the studies that have a folder, single runs aside."""
    if not home.work.is_dir():
        return []
    return sorted(path.name for path in home.work.iterdir() if path.is_dir() and path.name != FORMER_SINGLE_RUNS)


def running(home: Home) -> list[str]:
    """Returns the studies that somebody runs now."""
    return [name for name in folders(home) if lock_owner(home.study(name).lock) is not None]


def idle(home: Home) -> list[str]:
    """Returns the studies that Optuna knows, that nobody runs and whose deletion has not begun."""
    busy = set(running(home))
    return [name for name in stores.study_names(home) if name not in busy and not home.study(name).deleted.exists()]


def trials(home: Home, name: str) -> list[TrialSnapshot]:
    """Returns the trials of a study that Optuna knows."""
    folder = home.study(name)
    return [
        TrialSnapshot(name, trial.number, folder.trial(trial.number), State(trial.state.name), trial)
        for trial in bulk_reader.read(home, name)
    ]


def single_runs(home: Home) -> list[TrialSnapshot]:
    """Returns the runs that belong to no study and that nobody works at."""
    folder = home.single_runs()
    return [
        TrialSnapshot(
            FORMER_SINGLE_RUNS, number, folder.trial(number), _own_state(events.read(folder.trial(number).events)), None
        )
        for number in folder.numbers()
        if not _in_use(folder.trial(number))
    ]


def everything(home: Home) -> Iterator[TrialSnapshot]:
    """Yields the trials of all idle studies, then the single runs."""
    for name in idle(home):
        yield from trials(home, name)
    yield from single_runs(home)


def _own_state(happened: list[Event]) -> State:
    """What a single run came to, by its own word."""
    result = pending_result(happened)
    if result is not None:
        return State.COMPLETE if isinstance(result, Finished) else State.FAIL
    last = next((event for event in reversed(happened) if isinstance(event, Started | AttemptEnded | Failed)), None)
    return State(last.state) if isinstance(last, AttemptEnded) else State.WAITING


def _in_use(folder: TrialFolder) -> bool:
    files = [path for path in (folder.config, folder.events, folder.log, folder.root) if path.exists()]
    changed = max((path.stat().st_mtime for path in files), default=0.0)
    return locks.is_held(folder.lock) or (time.time() - changed < _SETTLED_S and not _is_closed(folder))


def _is_closed(folder: TrialFolder) -> bool:
    return any(isinstance(event, AttemptEnded) for event in events.read(folder.events)[-2:])


def records(home: Home, name: str) -> TrialRecords:
    """Returns the trials' folders of a study."""
    return TrialRecords(home.study(name))


def identity(home: Home, name: str) -> str:
    """Returns what tells a study's runs in MLflow from those of others of its name."""
    return FORMER_SINGLE_RUNS if name == FORMER_SINGLE_RUNS else stores.identity(stores.load_study(home, name))


def held(home: Home, name: str, fix: Callable[[], str]) -> Callable[[], str]:
    """Returns the repair, done while the study's lock is held."""

    def fixing() -> str:
        with hold_study_lock(home.study(name).lock, name):
            return fix()

    return fixing


@contextlib.contextmanager
def all_held(home: Home) -> Iterator[None]:
    """Holds the locks of all studies: for what is done to a database.

    Raises:
        StudyError: if one is being run.
    """
    with contextlib.ExitStack() as held_ones:
        for name in folders(home):
            held_ones.enter_context(hold_study_lock(home.study(name).lock, name))
        yield
