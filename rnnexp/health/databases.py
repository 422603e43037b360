"""Checks the two databases: the file is intact, its schema is the library's, its journal mode suits its file system."""

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from rnnexp.errors import RnnexpError
from rnnexp.health import mlflow_tables, servers, sqlite_files, studies
from rnnexp.health.finding import Finding
from rnnexp.health.places import link_out_of
from rnnexp.health.studies import Observation
from rnnexp.home import Home
from rnnexp.storage import maintenance as optuna_maintenance
from rnnexp.storage import sqlite
from rnnexp.storage.rebuild import rebuild
from rnnexp.tracking import maintenance as mlflow_maintenance
from rnnexp.tracking.projection import Projection
from rnnexp.trial.cursor import Cursor

CHECK = "databases"


@dataclass(frozen=True)
class Database:
    """One of the two databases.

    Attributes:
        path: its file.
        expected: tells whether the home has content that was written to it.
        repair: what the rebuild does, in words.
        rebuild: creates the database again from the trials' folders; returns what it did.
        versions: returns the library's schema version and all versions that the library can upgrade from.
        upgrade: upgrades the schema to the library's version.
    """

    path: Path
    expected: Callable[[], bool]
    repair: str
    rebuild: Callable[[], str]
    versions: Callable[[], tuple[str, frozenset[str]]]
    upgrade: Callable[[], None]


def databases(home: Home) -> tuple[Database, ...]:
    """Returns the home's own databases. Optuna's is first, because MLflow's is rebuilt from it."""
    optuna = () if home.storage_server is not None else (_optuna(home),)
    return (*optuna, _mlflow(home))


def _optuna(home: Home) -> Database:
    return Database(
        path=home.optuna_db,
        expected=lambda: any(home.study(name).sweep.exists() for name in studies.folders(home)),
        repair="the studies are rebuilt from their folders",
        rebuild=lambda: _rebuild_optuna(home),
        versions=optuna_maintenance.schema_versions,
        upgrade=lambda: optuna_maintenance.upgrade(home),
    )


def _mlflow(home: Home) -> Database:
    return Database(
        path=home.mlflow_db,
        expected=lambda: home.tracking_server is None and any(True for _ in _cursors(home)),
        repair="the events of all trials are sent again",
        rebuild=lambda: _rebuild_mlflow(home),
        versions=mlflow_maintenance.schema_versions,
        upgrade=lambda: mlflow_maintenance.upgrade(home),
    )


def usable(home: Home) -> set[str]:
    """Returns the names of the databases that other checks can read; a server stands for the home's own one."""
    own = {database.path.name for database in databases(home) if not any(_faults(home, database))}
    on_server = {home.optuna_db.name} if home.storage_server is not None and servers.storage_works(home) else set()
    return own | on_server


def check(observed: Observation) -> Iterator[Finding]:
    """Checks the home's own databases."""
    home = observed.home
    for database in databases(home):
        faults = list(_faults(home, database))
        yield from faults or _journal_faults(database.path)


def _faults(home: Home, database: Database) -> Iterator[Finding]:
    """Yields the faults that make a database unusable. One that cannot be read now is not damaged."""
    try:
        for finding in _content_faults(home, database):
            yield replace(finding, unusable=True)
    except (sqlite3.Error, OSError) as error:
        what = f"it could not be checked ({error}); run `rnnexp doctor` again when the cause is removed"
        yield Finding(CHECK, database.path.name, what, blocks=True, unusable=True)


def _content_faults(home: Home, database: Database) -> Iterator[Finding]:
    path = database.path
    fault = sqlite_files.damage(path, database.expected())
    if fault is not None:
        move = f"it is renamed to {path.name}.damaged-DATE; " if path.exists() else ""
        yield Finding(CHECK, path.name, fault, f"{move}{database.repair}", database.rebuild)
        return
    if not path.exists() or not sqlite_files.n_tables(path):
        return
    version = sqlite_files.schema_version(path)
    latest, known = database.versions()
    if version == latest:
        return
    if version in known:
        what = f"its tables have an older version, {version} instead of {latest}"
        repair = "a copy is made, then the library upgrades the tables"
        yield Finding(CHECK, path.name, what, repair, lambda: _upgrade(home, database, version, latest))
    else:
        what = (
            f"its tables have version {version}, which the installed library does not know: a newer library has "
            "written it; install that library"
        )
        yield Finding(CHECK, path.name, what)


def _journal_faults(path: Path) -> Iterator[Finding]:
    wanted = sqlite.journal_mode(path)
    if not path.exists() or not sqlite_files.n_tables(path) or sqlite_files.journal_mode(path) == wanted:
        return
    if wanted == "wal":
        what = "it does not use SQLite's write-ahead log, so readers and the writer block each other"
        yield Finding(CHECK, path.name, what, "the write-ahead log is switched on", lambda: _set_journal(path, "on"))
    else:
        what = "it uses SQLite's write-ahead log, which can damage it on a network file system"
        yield Finding(CHECK, path.name, what, "the write-ahead log is switched off", lambda: _set_journal(path, "off"))


def _set_journal(path: Path, switched: str) -> str:
    sqlite.set_journal(path)
    return f"the write-ahead log is switched {switched}"


def _upgrade(home: Home, database: Database, version: str | None, latest: str) -> str:
    backup = sqlite_files.back_up(database.path, str(version))
    database.upgrade()
    return f"upgraded to {latest}; the old database is {backup.name}"


def _rebuild_optuna(home: Home) -> str:
    moved = sqlite_files.move_away(home.optuna_db)
    optuna_maintenance.create_database(home)
    rebuilt, failed = [], []
    for name in studies.folders(home):
        folder = home.study(name)
        if not folder.sweep.exists() or folder.deleted.exists():
            continue
        try:
            n_trials = rebuild(home, name, mlflow_tables.study_identity(home, name))
            rebuilt.append(f"{name} ({n_trials} trials)")
        except RnnexpError as error:
            failed.append(f"{name} cannot be rebuilt ({error})")
    return "; ".join([f"{moved}rebuilt: {', '.join(rebuilt) or 'nothing'}", *failed])


def _cursors(home: Home) -> Iterator[Path]:
    """Yields the cursors of the trials that have a run in the home's own MLflow."""
    for name in studies.folders(home):
        for number in home.study(name).numbers():
            trial = home.study(name).trial(number)
            cursor = Cursor.load(trial.tracking)
            if cursor.run_id is not None and cursor.store == Cursor().store and link_out_of(home, trial) is None:
                yield trial.tracking


def _rebuild_mlflow(home: Home) -> str:
    moved = sqlite_files.move_away(home.mlflow_db)
    for path in list(_cursors(home)):
        path.unlink()
    n_runs = 0
    observed = Observation(home)
    for name in observed.idle():
        numbers = observed.numbers(name)
        if not numbers:
            continue
        projection = Projection.open(home, name, studies.identity(home, name))
        n_runs += sum(projection.replay(number) is not None for number in numbers)
    return f"{moved}{n_runs} runs are sent again; the next sweep of a study writes its own run and registered model"
