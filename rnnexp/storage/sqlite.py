"""How the two SQLite databases of a home are written: with a write-ahead log, and flushed only when that matters.

A commit (`synchronous=NORMAL`) survives a crash of the program, but not a power failure of the machine. `sync` makes it
survive that too. So a trial waits for the disk two or three times, not once for each of its dozens of writes.

The write-ahead log needs memory that all processes share. A network file system does not have it, and the databases
would be damaged. There the databases use a rollback journal, and every commit waits for the disk.
"""

import atexit
import contextlib
import sqlite3
import sys
from pathlib import Path
from typing import Any

from rnnexp import disk, mounts

LOCK_TIMEOUT_S = 120
FILES_BESIDE = ("-wal", "-shm", "-journal")
"""The suffixes of the files that SQLite has beside an open database."""

_ours: set[Path] = set()
"""The databases of the homes that this process has opened. MLflow uses other databases in the same process too."""

_connections: set[sqlite3.Connection] = set()
"""The open connections to these databases, some of which the libraries never close."""


def journal_mode(path: Path) -> str:
    """Returns the journal mode that a database must have where it is: "wal" or, on a network, "delete"."""
    return "wal" if mounts.network_file_system(path) is None else "delete"


def set_journal(path: Path) -> None:
    """Sets the journal mode of a database; creates the file if it is missing. SQLite stores the mode in the file.

    With a write-ahead log, readers and the writer do not block each other.

    Raises:
        sqlite3.OperationalError: if another process has the database open, and its mode must change.
    """
    wanted = journal_mode(path)
    with contextlib.closing(sqlite3.connect(path, timeout=LOCK_TIMEOUT_S)) as connection:
        if connection.execute("PRAGMA journal_mode").fetchone() != (wanted,):
            connection.execute(f"PRAGMA journal_mode={wanted}")


def set_up(path: Path) -> None:
    """Prepares one of a home's databases; to be called before its library opens it.

    A new database gets its journal mode, and so does one that was moved to a network file system. From now on, the
    connections of SQLAlchemy to this database commit without waiting for the disk, if it has a write-ahead log.
    """
    if not path.exists():
        set_journal(path)
    else:
        leave_log_on_network(path)
    _commit_without_waiting(path)


def complete_file(path: Path) -> None:
    """Moves the write-ahead log of an unused database into its file, so that the file can be renamed.

    Raises:
        sqlite3.OperationalError: if a connection still uses it.
    """
    with contextlib.closing(sqlite3.connect(path)) as connection:
        is_busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if is_busy or path.with_name(f"{path.name}-wal").exists():
        raise sqlite3.OperationalError(f"{path} is still in use")
    _ours.discard(path)


def leave_log_on_network(path: Path) -> None:
    """Switches off the write-ahead log of a database that was moved to a network file system.

    To be called before any other access, also before reading.
    """
    if journal_mode(path) != "wal":
        try:
            set_journal(path)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            pass  # it is damaged; the first real query reports the error


def is_damage(error: sqlite3.Error) -> bool:
    """Tells whether an error reports damaged content; a full disk, missing descriptors or a lock are none."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)  # errors that Python itself raises have none
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)  # the low byte is the primary code


def _commit_without_waiting(path: Path) -> None:
    from sqlalchemy import Engine, event

    _ours.add(path)
    # MLflow does not expose its engines, so the listener is set for all engines. It selects by the file.
    if not event.contains(Engine, "connect", _configure):
        event.listen(Engine, "connect", _configure)
        event.listen(Engine, "close", lambda connection, _: _connections.discard(connection))
        atexit.register(_close_all)


def _close_all() -> None:
    """Closes all connections: when the last one is closed, SQLite moves the write-ahead log into the database."""
    for connection in list(_connections):
        with contextlib.suppress(sqlite3.Error):  # a thread still uses it; the next process moves the log
            connection.close()


def _configure(connection: Any, _: Any) -> None:
    if isinstance(connection, sqlite3.Connection):
        with contextlib.suppress(sqlite3.Error):  # the first real query reports the error
            file = connection.execute("PRAGMA database_list").fetchone()[2]
            if not file or not any(_is_same(path, file) for path in _ours):
                return
            _connections.add(connection)
            if sys.platform == "darwin":
                connection.execute("PRAGMA checkpoint_fullfsync=1")
            # Without a write-ahead log, a database could be damaged by this setting.
            if connection.execute("PRAGMA journal_mode").fetchone() == ("wal",):
                connection.execute("PRAGMA synchronous=NORMAL")
            elif sys.platform == "darwin":
                connection.execute("PRAGMA fullfsync=1")


def _is_same(path: Path, file: str) -> bool:
    with contextlib.suppress(OSError):
        return path.samefile(file)
    return False


def sync(path: Path) -> None:
    """Flushes all committed changes of a database to the disk.

    Changes that are not yet in the database file are in its write-ahead log; SQLite flushes the log before it moves
    them. SQLite holds no lock on the log file, so closing the file here releases no lock of this process.
    """
    with contextlib.suppress(FileNotFoundError), path.with_name(f"{path.name}-wal").open("rb") as log:
        disk.flush(log.fileno())
