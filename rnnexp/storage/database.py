"""Optuna's database in a home, for writing: opens it, creates its tables, and creates, loads and deletes studies.

`bulk_reader` reads it.
"""

import contextlib
from collections.abc import Iterator
from functools import lru_cache

import optuna

from rnnexp import locks
from rnnexp.config.sweep import SweepConfig
from rnnexp.home import Home
from rnnexp.storage import bulk_reader, sampling, sqlite

optuna.logging.set_verbosity(optuna.logging.ERROR)


@contextlib.contextmanager
def database_creation_lock(home: Home) -> Iterator[None]:
    """Holds the lock for creating a database's tables: processes that create them at the same time crash."""
    with locks.held(home.stores_lock):
        yield


@lru_cache(maxsize=4)
def open_storage(home: Home) -> optuna.storages.RDBStorage:
    """Opens Optuna's database in the home; creates it if it is missing."""
    with database_creation_lock(home):
        sqlite.set_up(home.optuna_db)
        engine_options = {"connect_args": {"timeout": sqlite.LOCK_TIMEOUT_S}}
        return optuna.storages.RDBStorage(home.optuna_url, engine_kwargs=engine_options)


def create_or_load_study(storage: optuna.storages.BaseStorage, config: SweepConfig) -> optuna.Study:
    """Loads the study that the config names; creates it if it is missing."""
    return optuna.create_study(
        storage=storage,
        study_name=config.study,
        direction=config.objective.direction,
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
