"""The studies of a home with their trials. Only studies that no supervisor runs are checked and repaired."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from rnnexp.home import FORMER_SINGLE_RUNS, Home, TrialFolder
from rnnexp.storage import bulk_reader, database, metadata
from rnnexp.storage.maintenance import FrozenTrial
from rnnexp.storage.study_lock import hold_study_lock, lock_owner
from rnnexp.study.records import TrialRecords
from rnnexp.trial import events
from rnnexp.trial.events import Event
from rnnexp.trial.states import State


@dataclass(frozen=True)
class TrialSnapshot:
    """A trial of a study, from Optuna and from its folder.

    Attributes:
        study: the name of its study.
        number: from 0.
        folder: its own.
        state: Optuna's.
        trial: Optuna's record.
    """

    study: str
    number: int
    folder: TrialFolder
    state: State
    trial: FrozenTrial

    @cached_property
    def events(self) -> list[Event]:
        """The trial's events, read at the first access, because not every check needs them."""
        return events.read(self.folder.events)

    @property
    def where(self) -> str:
        return f"{self.study} trial {self.number}"


def folders(home: Home) -> list[str]:
    """Returns the names of the studies that have a folder.

    Earlier versions kept the runs of `rnnexp train` in a folder without a sweep file. It is not a study and is skipped.
    """
    if not home.work.is_dir():
        return []
    names = sorted(path.name for path in home.work.iterdir() if path.is_dir())
    return [name for name in names if name != FORMER_SINGLE_RUNS or home.study(name).sweep.exists()]


def running(home: Home) -> list[str]:
    """Returns the studies that a supervisor runs now."""
    return [name for name in folders(home) if lock_owner(home.study(name).lock) is not None]


def idle(home: Home) -> list[str]:
    """Returns Optuna's studies that no supervisor runs and whose deletion has not begun."""
    busy = set(running(home))
    return [name for name in database.study_names(home) if name not in busy and not home.study(name).deleted.exists()]


def trials(home: Home, name: str) -> list[TrialSnapshot]:
    """Returns the trials that Optuna has of a study."""
    folder = home.study(name)
    return [
        TrialSnapshot(name, trial.number, folder.trial(trial.number), State(trial.state.name), trial)
        for trial in bulk_reader.read(home, name)
    ]


def idle_trials(home: Home) -> Iterator[TrialSnapshot]:
    """Yields the trials of all idle studies."""
    for name in idle(home):
        yield from trials(home, name)


def records(home: Home, name: str) -> TrialRecords:
    """Returns the trials' folders of a study."""
    return TrialRecords(home.study(name))


def identity(home: Home, name: str) -> str:
    """Returns the identity by which MLflow distinguishes a study from a deleted study of the same name."""
    return metadata.identity(database.load_study(home, name))


def with_study_lock(home: Home, name: str, fix: Callable[[], str]) -> Callable[[], str]:
    """Returns a repair that holds the study's lock while it works."""

    def locked_fix() -> str:
        with hold_study_lock(home.study(name).lock, name):
            return fix()

    return locked_fix


@contextlib.contextmanager
def hold_all_locks(home: Home) -> Iterator[None]:
    """Holds the locks of all studies, for the repair of a database.

    Raises:
        StudyError: if a study is running.
    """
    with contextlib.ExitStack() as stack:
        for name in folders(home):
            stack.enter_context(hold_study_lock(home.study(name).lock, name))
        yield
