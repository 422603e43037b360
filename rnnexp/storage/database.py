"""Optuna's database, for writing: opens it, creates its tables, and creates, loads and deletes studies.

It is SQLite's in the home, or PostgreSQL's at the address in RNNEXP_STORAGE.

`bulk_reader` reads it.
"""

import contextlib
from collections.abc import Callable, Iterator
from functools import lru_cache

import optuna

from rnnexp import addresses, locks
from rnnexp.config.sweep import SweepConfig
from rnnexp.errors import StorageError
from rnnexp.home import Home
from rnnexp.storage import bulk_reader, postgres, sampling, sqlite

optuna.logging.set_verbosity(optuna.logging.ERROR)


@contextlib.contextmanager
def database_creation_lock(home: Home) -> Iterator[None]:
    """Holds the lock for creating a database's tables: processes that create them at the same time crash."""
    with locks.held(home.stores_lock):
        yield


@lru_cache(maxsize=4)
def open_storage(home: Home) -> optuna.storages.RDBStorage:
    """Opens Optuna's database; creates it if it is missing.

    Raises:
        StorageError: if the database in RNNEXP_STORAGE cannot be used.
    """
    if home.storage_server is not None:
        return _open_postgres(home.storage_url)
    with database_creation_lock(home):
        sqlite.set_up(home.optuna_db)
        engine_options = {"connect_args": {"timeout": sqlite.LOCK_TIMEOUT_S}}
        return optuna.storages.RDBStorage(home.optuna_url, engine_kwargs=engine_options)


def database_sync(home: Home) -> Callable[[], None]:
    """Returns the function that flushes what was committed to the disk. PostgreSQL does so at each commit."""
    return (lambda: None) if home.storage_server is not None else (lambda: sqlite.sync(home.optuna_db))


def _open_postgres(address: str) -> optuna.storages.RDBStorage:
    options = {
        "pool_pre_ping": True,  # connections that a restart of the server has ended are replaced
        "connect_args": {**postgres.CONNECTION, "application_name": "rnnexp"},
    }
    with postgres.one_line_errors(address), postgres.creation_lock(address):
        try:
            return optuna.storages.RDBStorage(address, engine_kwargs=options)
        except RuntimeError as error:  # its tables are of another version
            place = addresses.without_credentials(address)
            raise StorageError(f"storage {place}: {addresses.one_line(error, 300)}") from None


def create_or_load_study(storage: optuna.storages.BaseStorage, config: SweepConfig) -> optuna.Study:
    """Loads the study that the config names; creates it if it is missing."""
    return optuna.create_study(
        storage=storage,
        study_name=config.study,
        directions=[objective.direction for objective in config.objectives],
        load_if_exists=True,
        sampler=sampling.sampler(config.sampler, 0),
        pruner=sampling.pruner(config.pruner, sampling.max_epochs(config)),
    )


def load_study(home: Home, name: str) -> optuna.Study:
    """Loads a study for changing it; raises `StudyError` if there is none of that name."""
    bulk_reader.check_exists(home, name, bulk_reader.study_names(home))
    return optuna.load_study(study_name=name, storage=open_storage(home))


def create_in_memory_study() -> optuna.Study:
    """Creates a study that is not stored."""
    return optuna.create_study()


def delete_study(home: Home, name: str) -> None:
    """Deletes a study from Optuna's database, if it exists there."""
    if name in bulk_reader.study_names(home):
        optuna.delete_study(study_name=name, storage=open_storage(home))
