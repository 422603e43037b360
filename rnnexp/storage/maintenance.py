"""Maintenance of Optuna's database for `rnnexp doctor`: schema versions, upgrade, an empty database.

A study's content is rebuilt by `rnnexp.storage.rebuild`.
"""

import functools

import optuna

from rnnexp.home import Home
from rnnexp.storage.database import open_storage


@functools.cache
def schema_versions() -> tuple[str, frozenset[str]]:
    """Returns the schema version of the installed library, and all versions that it knows."""
    storage = optuna.storages.RDBStorage("sqlite://")
    return storage.get_head_version(), frozenset(storage.get_all_versions())


def upgrade(home: Home) -> None:
    """Upgrades the home's database to the schema version of the installed library."""
    optuna.storages.RDBStorage(home.optuna_url, skip_compatibility_check=True, skip_table_creation=True).upgrade()
    open_storage.cache_clear()


def create_database(home: Home) -> None:
    """Creates an empty database, after the file of the old one was moved away or lost."""
    open_storage.cache_clear()
    open_storage(home)
