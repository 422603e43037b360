"""Homes whose path has characters with a meaning in addresses: every file is inside the home."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rnnexp.home import Home
from rnnexp.storage import database
from rnnexp.tracking.artifacts import delete_artifacts
from rnnexp.tracking.client import open_client, open_experiment
from rnnexp.tracking.paths import artifact_address, local_path

NAMES = [
    "with space",
    "q?x=1",
    "hash#1",
    "percent%20d",
    "%3F",
    "{brace}",
    "semi;colon",
    "Grüße",
    "a%2e%2e",
    "all ?#%25{}",
]


@pytest.fixture(params=NAMES)
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Home]:
    yield Home.open(tmp_path / request.param / "home")
    database.open_storage.cache_clear()
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {request.param}, "a folder was created elsewhere"


@pytest.mark.integration
def test_databases_and_artifacts_are_in_the_home(home: Home) -> None:
    home.root.mkdir(parents=True)
    database.open_storage(home)
    client = open_client(home)
    experiment = open_experiment(client, home, "s")
    assert open_experiment(client, home, "s") == experiment, "the home was not moved"
    run = client.create_run(experiment).info.run_id
    client.log_text(run, "text", "checkpoints/a.txt")
    client.log_text(run, "text", "b.txt")
    assert (home.experiment_artifacts("s") / run / "artifacts" / "checkpoints" / "a.txt").read_text() == "text"
    assert sorted(item.path for item in client.list_artifacts(run)) == ["b.txt", "checkpoints"]
    assert Path(client.download_artifacts(run, "b.txt")).read_text() == "text"
    delete_artifacts(client, run, "checkpoints")
    assert [item.path for item in client.list_artifacts(run)] == ["b.txt"]
    assert home.optuna_db.stat().st_size > 0 and home.mlflow_db.stat().st_size > 0


def test_addresses_lead_back_to_their_paths(home: Home) -> None:
    assert local_path(artifact_address(home.artifacts)) == home.artifacts
    home.root.parent.mkdir()


def test_ordinary_paths_are_stored_as_paths() -> None:
    """Earlier versions stored them so, and MLflow shows them."""
    assert artifact_address(Path("/a b/c")) == "/a b/c"
    assert Home.at("/a b/c").mlflow_uri == "sqlite:////a b/c/mlflow.db"


def test_addresses_of_other_stores_are_no_paths() -> None:
    for address in ("s3://bucket/x", "mlflow-artifacts:/x", "file://host/x", "relative", "file:x", ""):
        assert local_path(address) is None
