"""Functions for any SQLite file: integrity, schema version, journal mode, backup.

Of the tables it knows only Alembic's, which stores the schema version for both Optuna and MLflow.
"""

import contextlib
import sqlite3
import time
from pathlib import Path

from rnnexp import disk
from rnnexp.storage import sqlite

_TIMEOUT_S = 30


def connect(path: Path) -> contextlib.closing[sqlite3.Connection]:
    """Opens a database; the connection is closed at the end of the `with` block."""
    return contextlib.closing(sqlite3.connect(path, timeout=_TIMEOUT_S))


def damage(path: Path, expected: bool) -> str | None:
    """Returns the damage of a database file, in words.

    Args:
        path: the file.
        expected: whether the file must exist and have tables.

    Returns:
        None if the file is intact, or is absent and not expected.

    Raises:
        sqlite3.DatabaseError: if the file cannot be read now, which says nothing about its content.
        OSError: the same.
    """
    if not path.exists():
        return "it is missing" if expected else None
    try:
        with connect(path) as connection:
            report = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(1)")]
            n_tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    except sqlite3.DatabaseError as error:
        if not sqlite.is_damage(error):
            raise
        return f"it is damaged ({error})"
    if report != ["ok"]:
        return f"it is damaged ({' '.join(report[0].split())[:120]})"
    return "it is empty" if expected and not n_tables else None


def n_tables(path: Path) -> int:
    """Returns the number of tables and indexes."""
    with connect(path) as connection:
        return int(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])


def journal_mode(path: Path) -> str:
    """Returns SQLite's journal mode, for example `wal` or `delete`."""
    with connect(path) as connection:
        return str(connection.execute("PRAGMA journal_mode").fetchone()[0])


def schema_version(path: Path) -> str | None:
    """Returns the schema version that Alembic has stored; None if there is none."""
    with connect(path) as connection:
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError as error:
            if "no such table" not in str(error):
                raise
            return None
    return str(row[0]) if row else None


def back_up(path: Path, reason: str) -> Path:
    """Copies a database, with the content of its write-ahead log; returns the copy, named after the reason and time."""
    target_path = path.with_name(f"{path.name}.before-{reason}-{_timestamp()}")
    with (
        disk.replacing(target_path) as temporary,
        connect(path) as source,
        contextlib.closing(sqlite3.connect(temporary)) as target,
    ):
        source.backup(target)
    return target_path


def move_away(path: Path) -> str:
    """Renames a damaged database with its log files; returns what was done, or nothing if there is no file."""
    timestamp = _timestamp()
    done = ""
    for suffix in ("", *sqlite.FILES_BESIDE):
        part = path.with_name(path.name + suffix)
        if part.exists():
            done = done or f"renamed to {path.name}.damaged-{timestamp}; "
            part.replace(path.with_name(f"{path.name}.damaged-{timestamp}{suffix}"))
    return done


def _timestamp() -> str:
    return time.strftime("%Y%m%d-%H%M%S")
