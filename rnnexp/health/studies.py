"""The studies of a home with their trials. Only studies that no supervisor runs are checked and repaired."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from rnnexp.health.finding import StudyFix
from rnnexp.health.places import is_inside, is_study_name, link_out_of
from rnnexp.home import FORMER_SINGLE_RUNS, Home, TrialFolder
from rnnexp.storage import bulk_reader, database, metadata
from rnnexp.storage.maintenance import FrozenTrial
from rnnexp.storage.study_lock import lock_owner
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
    """Returns the names of the studies that have a folder in the home.

    Earlier versions kept the runs of `rnnexp train` in a folder without a sweep file. It is not a study and is skipped.
    A folder that leads out of the home is skipped, too.
    """
    if not home.work.is_dir():
        return []
    names = sorted(path.name for path in home.work.iterdir() if path.is_dir())
    return [name for name in names if is_own(home, name) and not is_former_single_runs(home, name)]


def is_former_single_runs(home: Home, name: str) -> bool:
    """Tells whether a folder has the runs of `rnnexp train` of an earlier version."""
    return name == FORMER_SINGLE_RUNS and not home.study(name).sweep.exists()


def is_own(home: Home, name: str) -> bool:
    """Tells whether the work folder of a study, with its files and its folder of trials, is inside the home."""
    root = home.study(name).root
    if not is_study_name(name) or not is_inside(home.root, root):
        return False
    links = [path for path in root.iterdir() if path.is_symlink()] if root.is_dir() else []
    return all(is_inside(home.root, path) for path in links)


def running(home: Home) -> list[str]:
    """Returns the studies that a supervisor runs now."""
    return [name for name in folders(home) if lock_owner(home.study(name).lock) is not None]


def idle_folders(home: Home, held: str | None = None) -> list[str]:
    """Returns the studies that have a folder and that no supervisor runs.

    Args:
        home: this home.
        held: a study whose lock the caller holds; only this one is returned then.
    """
    if held is not None:
        return [name for name in folders(home) if name == held]
    return [name for name in folders(home) if lock_owner(home.study(name).lock) is None]


def idle(home: Home, held: str | None = None) -> list[str]:
    """Returns Optuna's studies that no supervisor runs and whose deletion has not begun.

    Args:
        home: this home.
        held: a study whose lock the caller holds; only this one is returned then.
    """
    busy = set(running(home)) if held is None else set()
    names = [name for name in database.study_names(home) if held in (None, name) and name not in busy]
    return [name for name in names if is_own(home, name) and not home.study(name).deleted.exists()]


def trials(home: Home, name: str) -> list[TrialSnapshot]:
    """Returns the trials that Optuna has of a study."""
    folder = home.study(name)
    return [
        TrialSnapshot(name, trial.number, folder.trial(trial.number), State(trial.state.name), trial)
        for trial in bulk_reader.read(home, name)
    ]


def numbers(home: Home, name: str) -> list[int]:
    """Returns the numbers of the trials that have a folder inside the home."""
    folder = home.study(name)
    return [number for number in folder.numbers() if link_out_of(home, folder.trial(number)) is None]


def idle_trials(home: Home, held: str | None = None) -> Iterator[TrialSnapshot]:
    """Yields the trials of all idle studies, or of the one study whose lock the caller holds.

    Trials whose files are outside the home are left out.
    """
    for name in idle(home, held):
        yield from (snapshot for snapshot in trials(home, name) if link_out_of(home, snapshot.folder) is None)


def records(home: Home, name: str) -> TrialRecords:
    """Returns the trials' folders of a study."""
    return TrialRecords(home.study(name))


def identity(home: Home, name: str) -> str:
    """Returns the identity by which MLflow distinguishes a study from a deleted study of the same name."""
    return metadata.identity(database.load_study(home, name))


def with_study_lock(home: Home, name: str, fix: Callable[[], str]) -> StudyFix:
    """Returns a repair that needs the lock of a study."""
    return StudyFix(home.study(name).lock, name, fix)
