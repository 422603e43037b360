"""What takes the space of a home, by study and kind."""

import os
from dataclasses import dataclass
from pathlib import Path

from rnnexp import disk
from rnnexp.home import Home


@dataclass(frozen=True)
class Usage:
    """Bytes on the disk.

    Attributes:
        free: left where the home is.
        cache: token stores.
        databases: the two, with their logs.
        copies: databases that were set aside or copied before a repair.
        other: reports of bugs and the like.
        work: each study's folders.
        artifacts: each study's files in MLflow.
    """

    free: int
    cache: int
    databases: int
    copies: int
    other: int
    work: dict[str, int]
    artifacts: dict[str, int]

    @property
    def total(self) -> int:
        """All of the home."""
        return (
            self.cache
            + self.databases
            + self.copies
            + self.other
            + sum(self.work.values())
            + sum(self.artifacts.values())
        )


def size(path: Path) -> int:
    """Returns the bytes of a file, or of all files below a folder; what vanishes meanwhile counts nothing."""
    if not path.is_dir():
        return _bytes(path)
    return sum(_bytes(Path(root) / name) for root, _, names in os.walk(path) for name in names)


def _bytes(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def usage(home: Home) -> Usage:
    """Adds up a home; all zeros where there is none."""
    own = {home.cache.name, home.work.name, home.artifacts.name}
    databases = copies = other = 0
    for path in home.root.iterdir() if home.root.is_dir() else ():
        if path.name in own:
            continue
        kind = path.name.partition(".db")[2] if path.name.startswith((home.optuna_db.name, home.mlflow_db.name)) else ""
        if path.name in (home.optuna_db.name, home.mlflow_db.name) or kind in ("-wal", "-shm"):
            databases += size(path)
        elif kind:
            copies += size(path)
        else:
            other += size(path)
    return Usage(
        free=disk.free_bytes(home.root),
        cache=size(home.cache),
        databases=databases,
        copies=copies,
        other=other,
        work=_each(home.work),
        artifacts=_each(home.artifacts),
    )


def _each(folder: Path) -> dict[str, int]:
    return {path.name: size(path) for path in sorted(folder.iterdir()) if path.is_dir()} if folder.is_dir() else {}
