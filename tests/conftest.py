"""One real MLflow server for all tests; each test uses studies with names of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mlflow_server import free_port, running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests that use the server as `integration`."""
    for item in items:
        if "server" in getattr(item, "fixturenames", ()):
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
