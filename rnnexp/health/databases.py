"""The two databases: whole, there, of this library's schema, written ahead."""

import contextlib
import functools
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rnnexp.errors import RnnexpError
from rnnexp.health import studies
from rnnexp.health.finding import Finding
from rnnexp.home import FORMER_SINGLE_RUNS, Home
from rnnexp.storage import sqlite
from rnnexp.storage import store as stores
from rnnexp.storage.rebuild import rebuild
from rnnexp.tracking.client import import_mlflow
from rnnexp.tracking.projection import Projection
from rnnexp.trial.cursor import Cursor

CHECK = "databases"
_BESIDE = ("", "-wal", "-shm")


@dataclass(frozen=True)
class Schema:
    """What a database's tables are, and what the installed library wants them to be.

    Attributes:
        found: the version of the tables.
        wanted: the library's.
        known: the versions that the library can upgrade from.
    """

    found: str | None
    wanted: str
    known: frozenset[str]


@dataclass(frozen=True)
class Database:
    """One of the two.

    Attributes:
        path: its file.
        expected: whether the home has what was written into it.
        rebuild: what `--repair` does where it is lost, and its doing.
        schema: reads its version.
        upgrade: brings it to the library's.
    """

    path: Path
    expected: bool
    rebuild: tuple[str, Callable[[], str]]
    schema: Callable[[], Schema]
    upgrade: Callable[[], None]


def databases(home: Home) -> tuple[Database, ...]:
    """Returns both, Optuna's first: MLflow's is written again from what it says."""
    return (
        Database(
            home.optuna_db,
            any(home.study(name).sweep.exists() for name in studies.folders(home)),
            ("the studies are built anew from their folders", lambda: _rebuild_optuna(home)),
            lambda: _optuna_schema(home),
            lambda: _upgrade_optuna(home),
        ),
        Database(
            home.mlflow_db,
            home.tracking_server is None and any(True for _ in _cursors(home)),
            ("every trial's events are sent again", lambda: _rebuild_mlflow(home)),
            lambda: _mlflow_schema(home),
            lambda: _upgrade_mlflow(home),
        ),
    )


def usable(home: Home) -> set[str]:
    """Returns the names of the database files that other checks can read."""
    return {database.path.name for database in databases(home) if not any(_faults(home, database, reading=True))}


def check(home: Home) -> Iterator[Finding]:
    """Looks at both."""
    for database in databases(home):
        yield from _faults(home, database, reading=False)


def _faults(home: Home, database: Database, *, reading: bool) -> Iterator[Finding]:
    path, (words, rebuilding) = database.path, database.rebuild
    fault = damage(path, database.expected)
    if fault is not None:
        aside = f"it is set aside as {path.name}.damaged-DATE; " if path.exists() else ""
        yield Finding(CHECK, path.name, fault, f"{aside}{words}", rebuilding)
        return
    if not path.exists() or not _tables(path):
        return
    schema = database.schema()
    if schema.found != schema.wanted:
        if schema.found in schema.known:
            what = f"its tables are of an older version, {schema.found} instead of {schema.wanted}"
            repair = "they are upgraded by the library's own steps, after a copy is made"
            yield Finding(CHECK, path.name, what, repair, lambda: _upgrade(home, database, schema))
        else:
            what = (
                f"its tables are of version {schema.found}, which the installed library does not know: a newer one has "
                "written it; install that"
            )
            yield Finding(CHECK, path.name, what)
    elif not reading and _journal(path) != "wal":
        what = "it is not written ahead, so readers and the writer block each other"
        yield Finding(CHECK, path.name, what, "it is set to write ahead", lambda: _use_wal(path))


def damage(path: Path, expected: bool) -> str | None:
    """Returns what is wrong with a database file, None where it is whole or rightly absent."""
    if not path.exists():
        return "it is missing" if expected else None
    try:
        with contextlib.closing(_open(path)) as connection:
            said = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(1)")]
            tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            return None
        return f"it is damaged ({error})"
    except sqlite3.DatabaseError as error:
        return f"it is damaged ({error})"
    if said != ["ok"]:
        return f"it is damaged ({' '.join(said[0].split())[:120]})"
    return "it is empty" if expected and not tables else None


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=30)


def _tables(path: Path) -> int:
    with contextlib.closing(_open(path)) as connection:
        return int(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])


def _journal(path: Path) -> str:
    with contextlib.closing(_open(path)) as connection:
        return str(connection.execute("PRAGMA journal_mode").fetchone()[0])


def _use_wal(path: Path) -> str:
    sqlite.use_wal(path)
    return "set to write ahead"


def _version(path: Path) -> str | None:
    with contextlib.closing(_open(path)) as connection:
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError:
            return None
    return str(row[0]) if row else None


def _date() -> str:
    return time.strftime("%Y%m%d-%H%M%S")


def copy(path: Path, why: str) -> Path:
    """Copies a whole database, what is still in its log included; returns the copy."""
    to = path.with_name(f"{path.name}.before-{why}-{_date()}")
    with contextlib.closing(_open(path)) as source, contextlib.closing(sqlite3.connect(to)) as target:
        source.backup(target)
    return to


def _set_aside(path: Path) -> str:
    """Moves a damaged database away, with what belongs to it."""
    date = _date()
    moved = ""
    for suffix in _BESIDE:
        part = path.with_name(path.name + suffix)
        if part.exists():
            moved = moved or f"set aside as {path.name}.damaged-{date}; "
            part.replace(path.with_name(f"{path.name}.damaged-{date}{suffix}"))
    return moved


def _optuna_schema(home: Home) -> Schema:
    return Schema(_version(home.optuna_db), *_optuna_versions())


@functools.cache
def _optuna_versions() -> tuple[str, frozenset[str]]:
    """Returns the version that the library wants, and those that it knows."""
    import optuna

    storage = optuna.storages.RDBStorage("sqlite://")
    return storage.get_head_version(), frozenset(storage.get_all_versions())


def _upgrade_optuna(home: Home) -> None:
    import optuna

    optuna.storages.RDBStorage(home.optuna_url, skip_compatibility_check=True, skip_table_creation=True).upgrade()
    stores.open_storage.cache_clear()


def _mlflow_schema(home: Home) -> Schema:
    return Schema(_version(home.mlflow_db), *_mlflow_versions())


@functools.cache
def _mlflow_versions() -> tuple[str, frozenset[str]]:
    """Returns the version that the library wants, and those that it knows."""
    import_mlflow()
    from alembic.script import ScriptDirectory
    from mlflow.store.db import utils

    script = ScriptDirectory.from_config(utils._get_alembic_config(""))
    known = frozenset(revision.revision for revision in script.walk_revisions())
    return utils._get_latest_schema_revision(), known


def _upgrade_mlflow(home: Home) -> None:
    import_mlflow()
    from mlflow.store.db import utils
    from sqlalchemy import create_engine

    engine = create_engine(home.mlflow_uri)
    try:
        utils._upgrade_db(engine)
    finally:
        engine.dispose()


def _upgrade(home: Home, database: Database, schema: Schema) -> str:
    with studies.all_held(home):
        kept = copy(database.path, str(schema.found))
        database.upgrade()
    return f"upgraded to {schema.wanted}; as it was it is {kept.name}"


def _rebuild_optuna(home: Home) -> str:
    with studies.all_held(home):
        moved = _set_aside(home.optuna_db)
        stores.open_storage.cache_clear()
        stores.open_storage(home)
        built, faults = [], []
        for name in studies.folders(home):
            folder = home.study(name)
            if not folder.sweep.exists() or folder.deleted.exists():
                continue
            try:
                built.append(f"{name} ({rebuild(home, name, identity_in_mlflow(home, name))} trials)")
            except RnnexpError as error:
                faults.append(f"{name} cannot be ({error})")
    return f"{moved}built anew: {', '.join(built) or 'nothing'}{'; ' if faults else ''}{'; '.join(faults)}"


def identity_in_mlflow(home: Home, name: str) -> str | None:
    """Returns the identity of a study by its runs in the home's own MLflow, None where they do not say it."""
    query = (
        "SELECT own.value FROM tags own JOIN tags study ON study.run_uuid = own.run_uuid "
        "JOIN runs ON runs.run_uuid = own.run_uuid WHERE own.key = 'rnnexp.study_id' AND study.key = 'rnnexp.study' "
        "AND study.value = ? ORDER BY runs.start_time DESC LIMIT 1"
    )
    try:
        with contextlib.closing(sqlite3.connect(f"file:{home.mlflow_db}?mode=ro", uri=True)) as connection:
            row = connection.execute(query, (name,)).fetchone()
    except sqlite3.Error:
        return None
    return str(row[0]) if row else None


def _cursors(home: Home) -> Iterator[Path]:
    """Yields the cursors that say that the home's own MLflow has something."""
    for name in (*studies.folders(home), FORMER_SINGLE_RUNS):
        folder = home.study(name)
        for number in folder.numbers():
            path = folder.trial(number).tracking
            cursor = Cursor.load(path)
            if cursor.run_id is not None and cursor.store == Cursor().store:
                yield path


def _rebuild_mlflow(home: Home) -> str:
    with studies.all_held(home):
        moved = _set_aside(home.mlflow_db)
        for path in list(_cursors(home)):
            path.unlink()
        sent = 0
        for name in (*stores.study_names(home), FORMER_SINGLE_RUNS):
            folder = home.study(name)
            if not folder.numbers() or folder.deleted.exists():
                continue
            projection = Projection.open(home, name, studies.identity(home, name))
            sent += sum(projection.replay(number) is not None for number in folder.numbers())
    return f"{moved}{sent} runs are written anew; a study's own run and its registered model come with its next sweep"
