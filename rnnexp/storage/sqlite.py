"""How both SQLite databases are written: with a write-ahead log, and flushed to the disk only when that matters.

A commit (`synchronous=NORMAL`) survives a crash of the program, but not a power failure of the machine. `sync` makes it
survive that too. So a trial waits for the disk two or three times, not once for each of its dozens of writes.
"""

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Any

LOCK_TIMEOUT_S = 120


def use_wal(path: Path) -> None:
    """Sets a database to use a write-ahead log, so that readers and the writer do not block each other.

    SQLite stores this setting in the database.
    """
    with contextlib.closing(sqlite3.connect(path, timeout=LOCK_TIMEOUT_S)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def commit_without_waiting() -> None:
    """Makes every SQLite connection that SQLAlchemy opens from now on commit without waiting for the disk.

    This holds only for databases with a write-ahead log.
    """
    from sqlalchemy import Engine, event

    # MLflow does not expose its engines, so the listener is set for all engines.
    if not event.contains(Engine, "connect", _set_synchronous_normal):
        event.listen(Engine, "connect", _set_synchronous_normal)


def _set_synchronous_normal(connection: Any, _: Any) -> None:
    if isinstance(connection, sqlite3.Connection):
        with contextlib.suppress(sqlite3.Error):  # the first real query reports the error
            # Without a write-ahead log, a database could be damaged by this setting.
            if connection.execute("PRAGMA journal_mode").fetchone() == ("wal",):
                connection.execute("PRAGMA synchronous=NORMAL")


def sync(path: Path) -> None:
    """Flushes all committed changes of a database to the disk.

    Changes that are not yet in the database file are in its write-ahead log; SQLite flushes the log before it moves
    them. SQLite holds no lock on the log file, so closing the file here releases no lock of this process.
    """
    with contextlib.suppress(FileNotFoundError), path.with_name(f"{path.name}-wal").open("rb") as log:
        os.fsync(log.fileno())
