"""The files of a trial that travel between a node and the supervisor's machine, by their names in its folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rnnexp import disk
from rnnexp.home import TrialFolder
from rnnexp.trial import events
from rnnexp.trial.events import Event

_STATE = ("plan.json", "held_out.npz", "checkpoints/best.keras", "state.npz")
"""What an attempt resumes from, in the order in which a trial writes them: the checkpoint is last."""
_EVENTS = "events.jsonl"
_DRAWN = ("history.csv", "curves.png")
"""What is written after the result."""
RETURNED = (*_STATE, *_DRAWN)
"""The files that a node sends back as a whole. The events and the log come in parts."""


def read_state(folder: TrialFolder) -> dict[str, bytes]:
    """Returns the files from which an attempt of the trial resumes; those that exist."""
    return {name: content for name in (_EVENTS, *_STATE) if (content := _read(folder.root / name)) is not None}


def write_state(folder: TrialFolder, files: Mapping[str, bytes]) -> None:
    """Writes the files of `read_state` into a new folder on another machine."""
    for name in (_EVENTS, *_STATE):
        if name in files:
            (folder.root / name).parent.mkdir(parents=True, exist_ok=True)
            (folder.root / name).write_bytes(files[name])


def write_returned(folder: TrialFolder, files: Mapping[str, bytes | None]) -> None:
    """Does to a trial's files what the trial has done on a node. Other names are ignored.

    Each file is replaced atomically, the checkpoint after the model. First the files are removed that the trial has
    removed: a damaged checkpoint must not stay beside the model of another epoch.

    Args:
        folder: the trial's.
        files: the new content by name; None for a file that was removed.
    """
    for name in RETURNED:
        if name in files and files[name] is None:
            (folder.root / name).unlink(missing_ok=True)
    for name in RETURNED:
        content = files.get(name)
        if content is not None:
            with disk.replacing(folder.root / name) as temporary:
                temporary.write_bytes(content)


def append_events(folder: TrialFolder, recorded: Sequence[Event]) -> None:
    """Appends events that a trial has recorded on a node; those that are there already are left out."""
    known = events.read(folder.events) if recorded else []
    for event in recorded:
        if event not in known:
            events.append(folder.events, event)


def append_log(folder: TrialFolder, part: bytes) -> None:
    """Appends a part of the log that a node has sent."""
    if part:
        disk.make_folder(folder.root)
        with folder.log.open("ab") as log:
            log.write(part)


class ChangedFiles:
    """Finds what has changed in a trial's folder since it was last asked."""

    def __init__(self, folder: TrialFolder) -> None:
        """Args:
        folder: its present files count as sent.
        """
        self._folder = folder
        self._stamps = {name: _stamp(folder.root / name) for name in RETURNED}
        self._n_logged = 0
        self._n_events = len(events.read(folder.events))

    def events(self) -> tuple[Event, ...]:
        """Returns the events that were written since the last call."""
        written = events.read(self._folder.events)[self._n_events :]
        self._n_events += len(written)
        return tuple(written)

    def files(self) -> dict[str, bytes | None]:
        """Returns the files that have changed since the last call: their content, or None for one that was removed."""
        changed = {}
        for name in RETURNED:
            path = self._folder.root / name
            stamp = _stamp(path)
            if stamp != self._stamps[name]:
                changed[name], self._stamps[name] = _read(path), stamp
        return changed

    def log(self) -> bytes:
        """Returns what was appended to the log since the last call."""
        try:
            with self._folder.log.open("rb") as log:
                log.seek(self._n_logged)
                part = log.read()
        except FileNotFoundError:
            return b""
        self._n_logged += len(part)
        return part


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Returns what changes when a file is replaced; None without a file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
