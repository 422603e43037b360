"""A server that names local paths as the place of files: nothing on this machine is written or deleted."""

import sqlite3
from pathlib import Path

import pytest

from rnnexp.home import Home
from rnnexp.tracking.artifacts import LocalPathError, check_place
from rnnexp.tracking.client import open_client
from rnnexp.tracking.projection import Projection
from rnnexp.tracking.sender import Outbox
from rnnexp.trial import events
from rnnexp.trial.events import Evicted
from tests.mlflow_server import free_port, running
from tests.tracking import studies


@pytest.mark.parametrize(
    "place", ["/etc", "file:///etc", "FILE:/etc", " /etc", "etc", "c:/etc", "file://localhost/etc"]
)
def test_a_local_place_is_refused_from_a_server_only(place: str) -> None:
    with pytest.raises(LocalPathError):
        check_place(place, "http://host:5000")
    check_place(place, "sqlite:///home/mlflow.db")
    check_place(place, None)


@pytest.mark.parametrize("place", ["mlflow-artifacts:/0/a", "s3://bucket/a", "https://host/a", "dbfs:/a"])
def test_a_place_elsewhere_is_accepted(place: str) -> None:
    check_place(place, "https://host")


@pytest.mark.integration
def test_an_experiment_in_a_local_path_is_refused_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server without `--artifacts-destination` tells its clients to write files themselves."""
    place = tmp_path / "chosen-by-the-server"
    home = Home.open(tmp_path / "home")
    studies.finish_trial(home, "refused", 0.6)
    identity, lines = studies.identity(home, "refused"), list[str]()
    options = ("--no-serve-artifacts", "--default-artifact-root", str(place))
    with running(tmp_path, free_port(), *options) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        outbox = Outbox(lambda: Projection.open(home, "refused", identity).replay, lines.append)
        outbox.add(0)
        for _ in range(3):
            outbox.send()
        assert outbox.unsent == [0]
    assert not place.exists()
    assert len(lines) == 1
    assert f"the server stores files in {place}" in lines[0]
    assert "training continues" in lines[0]


def test_the_place_of_each_run_is_checked(on_server: str, server_root: Path, tmp_path: Path) -> None:
    """The experiment's place may be elsewhere, and a run's on this machine."""
    home, place = Home.open(tmp_path / "home"), tmp_path / "precious"
    studies.finish_trial(home, "by-run", 0.6)
    run_id = studies.send(home, "by-run")
    (place / "checkpoints").mkdir(parents=True)
    (place / "checkpoints" / "best.keras").write_text("of the user")
    with sqlite3.connect(server_root / "server.db", timeout=60) as connection:
        connection.execute("UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", (f"file://{place}", run_id))
    connection.close()
    from mlflow.tracking._tracking_service import utils

    utils._artifact_repos_cache.clear()
    folder = home.study("by-run").trial(0)
    projection = Projection.open(home, "by-run", studies.identity(home, "by-run"))
    events.append(folder.events, Evicted(5.0))
    with pytest.raises(LocalPathError):
        projection.replay(0)
    with pytest.raises(LocalPathError):
        projection.resend(0)
    with pytest.raises(LocalPathError):
        open_client(home).log_text(run_id, "text", "note.txt")
    assert [path.name for path in place.rglob("*")] == ["checkpoints", "best.keras"]


def test_the_default_experiment_of_a_server_is_not_used(on_server: str, tmp_path: Path) -> None:
    from rnnexp.tracking.client import ExperimentError

    client = studies.client(on_server)
    client.rename_experiment("0", "renamed")
    try:
        home = Home.open(tmp_path / "home")
        studies.finish_trial(home, "renamed", 0.6)
        with pytest.raises(ExperimentError, match="choose another name with --study"):
            studies.send(home, "renamed")
    finally:
        client.rename_experiment("0", "Default")
