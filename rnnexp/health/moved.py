"""A home that was moved or copied: MLflow's database holds absolute paths, which then name the old place."""

import contextlib
import sqlite3
from collections.abc import Iterator

from rnnexp.health import databases, studies
from rnnexp.health.finding import Finding
from rnnexp.home import Home

CHECK = "moved"
_COLUMNS = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}
"""Where MLflow 3 keeps the places of files."""


def check(home: Home) -> Iterator[Finding]:
    """Looks for experiments whose files are said to be elsewhere."""
    if not home.mlflow_db.exists():
        return
    for old in _old_places(home):
        what = f"MLflow keeps files at {old}, and this home is {home.root}"
        repair = "the places are rewritten, after a copy of the database is made"
        yield Finding(CHECK, home.mlflow_db.name, what, repair, lambda old=old: _rewrite(home, old))  # type: ignore[misc]


def _old_places(home: Home) -> list[str]:
    """Returns the other homes that the database names."""
    with contextlib.closing(sqlite3.connect(home.mlflow_db, timeout=30)) as connection:
        try:
            rows = connection.execute("SELECT artifact_location FROM experiments WHERE experiment_id != 0").fetchall()
        except sqlite3.OperationalError:
            return []
    marker = f"/{home.artifacts.name}/"
    parted = [str(place).rpartition(marker) for (place,) in rows if place and str(place).startswith("/")]
    # An experiment whose files are not here was never ours: somebody else made it, with files of his own.
    places = {root for root, _, name in parted if root and (home.artifacts / name).is_dir()}
    return sorted(places - {str(home.root)})


def _rewrite(home: Home, old: str) -> str:
    n_places = 0
    with studies.all_held(home):
        kept = databases.copy(home.mlflow_db, "move")
        with contextlib.closing(sqlite3.connect(home.mlflow_db, timeout=120)) as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            for table, columns in _COLUMNS.items():
                present = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
                for column in columns:
                    if column in present:
                        n_places += _replace(connection, table, column, old, str(home.root))
    return f"{n_places} places are rewritten; the database as it was is {kept.name}"


def _replace(connection: sqlite3.Connection, table: str, column: str, old: str, new: str) -> int:
    """Replaces the beginning of a path, where it is one, with and without its scheme."""
    changed = 0
    for scheme in ("", "file://"):
        before = f"{scheme}{old}/"
        changed += connection.execute(
            f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
            (f"{scheme}{new}/", len(before) + 1, len(before), before),
        ).rowcount
    return changed
