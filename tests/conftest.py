"""One real MLflow server and one PostgreSQL server for all tests.

Each test uses studies with names of its own, or a database of its own.
"""

import gc
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.mlflow_server import free_port, running
from tests.postgres_server import PostgresServer, running_postgres


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests that use a server as `integration`."""
    for item in items:
        if {"server", "postgres_server"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("integration")


@pytest.fixture(scope="session")
def server_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the server's database."""
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="session")
def server(server_root: Path) -> Iterator[str]:
    """The address of the server."""
    with running(server_root, free_port()) as address:
        yield address


@pytest.fixture
def on_server(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of the server, which MLFLOW_TRACKING_URI names."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    return server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The PostgreSQL server. A test that stops it starts it again."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def on_postgres(postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of an empty database, with its password, which RNNEXP_STORAGE names."""
    from rnnexp.storage import database

    opened, open_postgres = [], database._open_postgres

    def open_and_remember(address: str) -> Any:
        opened.append(open_postgres(address))
        return opened[-1]

    address = postgres_server.new_database()
    monkeypatch.setenv("RNNEXP_STORAGE", address)
    monkeypatch.setattr(database, "_open_postgres", open_and_remember)
    yield address
    database.open_storage.cache_clear()
    for storage in opened:
        storage.engine.dispose()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # Optuna does not close what it could not open completely
        gc.collect()
