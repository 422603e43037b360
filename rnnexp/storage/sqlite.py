"""SQLite as both databases use it: written ahead, and brought to the disk where something rests on it.

A commit alone (`synchronous=NORMAL`) survives the program's death, not the machine's; `sync` makes it survive that too.
So a trial costs two or three waits for the disk instead of one for each of its dozens of writes.
"""

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Any

LOCK_TIMEOUT_S = 120


def use_wal(path: Path) -> None:
    """Sets a database to write ahead, so that readers and the writer do not block each other; it stays so."""
    with contextlib.closing(sqlite3.connect(path, timeout=LOCK_TIMEOUT_S)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def commit_without_waiting() -> None:
    """Has every SQLite connection that SQLAlchemy opens from now on commit without waiting for the disk."""
    from sqlalchemy import Engine, event

    # MLflow makes its engines where nobody can reach them; so it is said to all.
    if not event.contains(Engine, "connect", _relax):
        event.listen(Engine, "connect", _relax)


def _relax(connection: Any, _: Any) -> None:
    if isinstance(connection, sqlite3.Connection):
        with contextlib.suppress(sqlite3.Error):  # whoever asks it something next is told what is wrong
            # Only what is written ahead stays whole without waiting; another database is left as careful as it is.
            if connection.execute("PRAGMA journal_mode").fetchone() == ("wal",):
                connection.execute("PRAGMA synchronous=NORMAL")


def sync(path: Path) -> None:
    """Brings all that was committed to a database to the disk.

    What is committed and not yet in the database's own file is in its log; SQLite itself waits for the log before it
    empties it. No lock lies on the log, so that opening and closing it lets go of none.
    """
    with contextlib.suppress(FileNotFoundError), path.with_name(f"{path.name}-wal").open("rb") as log:
        os.fsync(log.fileno())
