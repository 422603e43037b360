"""Measures the disk space of a home, by study and kind."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from rnnexp import disk
from rnnexp.home import Home
from rnnexp.storage import sqlite


@dataclass(frozen=True)
class Usage:
    """Disk space in bytes.

    Attributes:
        free: free space on the home's disk.
        cache: token stores.
        databases: the two databases with their write-ahead logs.
        copies: copies of databases, made before or by a repair.
        other: bug reports and other files.
        set_aside: models that a repair has set aside; a part of `work`.
        work: the work folder of each study.
        artifacts: the MLflow artifacts of each study.
    """

    free: int
    cache: int
    databases: int
    copies: int
    other: int
    set_aside: int
    work: dict[str, int]
    artifacts: dict[str, int]

    @property
    def total(self) -> int:
        """The sum of everything but `free`."""
        return (
            self.cache
            + self.databases
            + self.copies
            + self.other
            + sum(self.work.values())
            + sum(self.artifacts.values())
        )


def size(path: Path) -> int:
    """Returns the bytes of a file, or of all files below a folder; a file that is deleted meanwhile counts 0."""
    if not path.is_dir():
        return _bytes(path)
    n_bytes, folders = 0, [str(path)]
    while folders:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif not (entry.is_symlink() and Path(entry).is_dir()):
                    n_bytes += _bytes(entry)
    return n_bytes


def _bytes(file: "Path | os.DirEntry[str]") -> int:
    try:
        return file.stat(follow_symlinks=False).st_size
    except OSError:
        return 0


def usage(home: Home) -> Usage:
    """Measures a home; all sizes are 0 if it does not exist."""
    folders = {home.cache.name, home.work.name, home.artifacts.name}
    databases = copies = other = 0
    for path in home.root.iterdir() if home.root.is_dir() else ():
        if path.name in folders:
            continue
        kind = path.name.partition(".db")[2] if path.name.startswith((home.optuna_db.name, home.mlflow_db.name)) else ""
        if path.name in (home.optuna_db.name, home.mlflow_db.name) or kind in sqlite.FILES_BESIDE:
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
        set_aside=sum(size(path) for path in home.work.glob("*/trials/*/set-aside")),
        work=_sizes(home.work),
        artifacts=_sizes(home.artifacts),
    )


def _sizes(folder: Path) -> dict[str, int]:
    return {path.name: size(path) for path in sorted(folder.iterdir()) if path.is_dir()} if folder.is_dir() else {}
