"""The identity of a home. Homes that use one MLflow server tell their runs apart by it.

A file in the home contains a UUID and the path of the home. A home that was moved keeps its UUID. A copy gets a new
one: its file names another folder, which has the same UUID. A copy on a machine that does not have the original cannot
be recognized; remove the file there, and the copy gets a UUID of its own.
"""

import json
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from rnnexp import disk, locks
from rnnexp.errors import HomeError
from rnnexp.home import Home, existing_text


@dataclass(frozen=True)
class HomeId:
    """The identity of a home.

    Attributes:
        value: a UUID; empty if the home has none yet.
        former: the UUIDs of the homes of which this one is a copy.
    """

    value: str = ""
    former: tuple[str, ...] = ()

    @property
    def is_copy(self) -> bool:
        """Whether the home is a copy. What was written before homes had an identity then belongs to the original."""
        return bool(self.former)


@dataclass(frozen=True)
class _Record:
    """The content of the file."""

    id: str
    path: str
    former: tuple[str, ...] = ()


def peek(home: Home) -> HomeId:
    """Returns the identity of a home and writes nothing. A copy that was not used yet has no UUID, only former ones."""
    record = _load(home.id_file)
    if record is None:
        return HomeId()
    if _is_copy(record, home.root):
        return HomeId("", (*record.former, record.id))
    return HomeId(record.id, record.former)


def claim(home: Home) -> HomeId:
    """Returns the identity of a home; a home without one, and a copy, gets a new one."""
    root = home.root.resolve()
    record = _load(home.id_file)
    if record is None or record.path != str(root):
        with locks.held(home.id_lock):  # two first commands must get the same one
            found = peek(home)
            record = _Record(found.value or uuid.uuid4().hex, str(root), found.former)
            if _load(home.id_file) != record:
                disk.write_text(home.id_file, json.dumps(asdict(record)))
    return HomeId(record.id, record.former)


def _is_copy(record: _Record, root: Path) -> bool:
    """Tells whether the folder that a home's file names is another home with the same UUID."""
    original = Path(record.path)
    if original == root.resolve():
        return False
    try:
        other = _load(Home.at(original).id_file)
    except HomeError:
        return False  # it is not known; a home that was moved must keep its studies and runs
    return other is not None and other.id == record.id and not _is_same(original, root)


def _is_same(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)  # such as a folder that is mounted at two places
    except OSError:
        return False


def _load(path: Path) -> _Record | None:
    """Loads the file; None if it is missing or damaged.

    Raises:
        HomeError: if it cannot be read now. A new UUID would make the home's studies and runs those of another home.
    """
    text = existing_text(path)
    if text is None:
        return None
    try:
        values = json.loads(text)
        record = _Record(str(values["id"]), str(values["path"]), tuple(map(str, values.get("former", ()))))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return record if record.id else None
