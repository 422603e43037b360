"""The studies of a home with their trials. Only studies that no supervisor runs are checked and repaired."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rnnexp.health.finding import StudyFix
from rnnexp.health.places import is_inside, is_study_name, link_out_of
from rnnexp.home import FORMER_SINGLE_RUNS, Home, TrialFolder
from rnnexp.storage import bulk_reader, metadata
from rnnexp.storage.bulk_reader import StoredTrial
from rnnexp.storage.study_lock import lock_owner
from rnnexp.study.records import TrialRecords
from rnnexp.trial import events
from rnnexp.trial.cursor import Cursor
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
    trial: StoredTrial

    @cached_property
    def events(self) -> list[Event]:
        """The trial's events, read at the first access, because not every check needs them."""
        return events.read(self.folder.events)

    @cached_property
    def cursor(self) -> Cursor:
        """How many of its events MLflow has, read at the first access."""
        return Cursor.load(self.folder.tracking)

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
    return [name for name in folders(home) if lock_owner(home, name) is not None]


class Observation:
    """A home as one search for faults sees it. Each trial and its events are read once, when they are first needed.

    A repair never acts on an old observation: it makes a new one when it has the lock.

    Attributes:
        unusable_servers: the addresses of servers that a check has found to be unusable; others need not report them.
    """

    def __init__(self, home: Home, held: str | None = None) -> None:
        """Args:
        home: this home.
        held: a study whose lock the caller holds; only this one is observed then.
        """
        self.home, self.held = home, held
        self.unusable_servers: set[str] = set()
        self._trials: dict[str, list[TrialSnapshot]] = {}
        self._links: dict[str, dict[int, Path]] = {}
        self._started: dict[str, int] = {}

    def idle_folders(self) -> list[str]:
        """Returns the studies that have a folder and that no supervisor runs now."""
        names = folders(self.home)
        if self.held is not None:
            return [name for name in names if name == self.held]
        return self._without_running(names)

    def idle(self) -> list[str]:
        """Returns Optuna's studies that no supervisor runs now and whose deletion has not begun."""
        names = [name for name in bulk_reader.own_study_names(self.home) if self.held in (None, name)]
        own = [name for name in names if is_own(self.home, name)]
        idle = own if self.held is not None else self._without_running(own)
        return [name for name in idle if not self.home.study(name).deleted.exists()]

    def _without_running(self, names: list[str]) -> list[str]:
        idle = [name for name in names if lock_owner(self.home, name) is None]
        for name in idle:
            self._forget_if_started(name)
        return idle

    def _forget_if_started(self, name: str) -> None:
        """Forgets what was read of a study if a supervisor has run it since: each one writes to the lock file."""
        try:
            started = self.home.study(name).lock.stat().st_mtime_ns
        except FileNotFoundError:
            started = 0
        if self._started.setdefault(name, started) != started:
            self._started[name] = started
            self._trials.pop(name, None)
            self._links.pop(name, None)

    def trials(self, name: str) -> list[TrialSnapshot]:
        """Returns the trials that Optuna has of a study."""
        if name not in self._trials:
            folder = self.home.study(name)
            self._trials[name] = [
                TrialSnapshot(name, trial.number, folder.trial(trial.number), trial.state, trial)
                for trial in bulk_reader.read(self.home, name)
            ]
        return self._trials[name]

    def links_out(self, name: str) -> dict[int, Path]:
        """Returns the trials whose folder contains, or is, a link to a place outside the home, with the first link."""
        if name not in self._links:
            folder = self.home.study(name)
            links = {number: link_out_of(self.home, folder.trial(number)) for number in folder.numbers()}
            self._links[name] = {number: link for number, link in links.items() if link is not None}
        return self._links[name]

    def numbers(self, name: str) -> list[int]:
        """Returns the numbers of the trials that have a folder inside the home."""
        links = self.links_out(name)
        return [number for number in self.home.study(name).numbers() if number not in links]

    def own_trials(self, name: str) -> list[TrialSnapshot]:
        """Returns the trials that Optuna has of a study, without those whose files are outside the home."""
        links = self.links_out(name)
        return [snapshot for snapshot in self.trials(name) if snapshot.number not in links]

    def idle_trials(self) -> Iterator[TrialSnapshot]:
        """Yields the trials of all idle studies, without those whose files are outside the home."""
        for name in self.idle():
            yield from self.own_trials(name)


def records(home: Home, name: str) -> TrialRecords:
    """Returns the trials' folders of a study."""
    return TrialRecords(home.study(name))


def identity(home: Home, name: str) -> str:
    """Returns the identity by which MLflow distinguishes a study from a deleted study of the same name."""
    return metadata.identity(bulk_reader.load_study(home, name))


def with_study_lock(home: Home, name: str, fix: Callable[[], str]) -> StudyFix:
    """Returns a repair that needs the lock of a study."""
    return StudyFix(name, fix)
