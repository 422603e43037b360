"""Optuna's database in a home: opens it, creates its tables, and lists, creates, loads and deletes studies."""

import contextlib
import re
from collections.abc import Iterator
from functools import lru_cache

import optuna

from rnnexp import locks
from rnnexp.config.sweep import STUDY_NAME, SweepConfig
from rnnexp.errors import StudyError, did_you_mean
from rnnexp.home import Home
from rnnexp.storage import sampling, sqlite

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


def study_names(home: Home) -> list[str]:
    """Returns the studies' names, oldest first; empty if the home has no database.

    A name is the name of a folder, too. A study whose name could lead to another place (`../x`) was not written by this
    program and is left out.
    """
    if not home.optuna_db.exists():
        return []
    names = optuna.get_all_study_names(open_storage(home))
    return [name for name in names if re.fullmatch(STUDY_NAME, name)]


def load_study(home: Home, name: str) -> optuna.Study:
    """Loads a study for reading.

    Args:
        home: holds the database.
        name: the study's name.

    Raises:
        StudyError: if there is no study of that name.
    """
    names = study_names(home)
    if name not in names:
        hint = did_you_mean(name, names) if names else "; the home has no studies, start one with `rnnexp sweep FILE`"
        raise StudyError(f"no study {name} in {home.root}{hint}")
    return optuna.load_study(study_name=name, storage=open_storage(home))


def delete_study(home: Home, name: str) -> None:
    """Deletes a study from Optuna's database, if it exists there."""
    if name in study_names(home):
        optuna.delete_study(study_name=name, storage=open_storage(home))
