"""MLflow's server, named by MLFLOW_TRACKING_URI: absent, then there."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import SWEEP, rnnexp

pytestmark = pytest.mark.tensorflow


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _server(root: Path, port: int) -> Iterator[None]:
    with (root / "server.log").open("w") as log:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
                *("--backend-store-uri", f"sqlite:///{root / 'server.db'}"),
                *("--artifacts-destination", str(root / "server-artifacts")),
                *("--host", "127.0.0.1", "--port", str(port)),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
        )
    try:
        deadline = time.monotonic() + 90
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                    break
            except OSError:
                assert time.monotonic() < deadline, (root / "server.log").read_text()
                time.sleep(0.3)
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_server_that_is_away_costs_no_trial_and_gets_all_when_it_is_there(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    port = _free_port()
    address = f"http://127.0.0.1:{port}"
    file = tmp_path / "sweep.yaml"
    # Both models are kept, whichever of the trials ends last and is the better.
    file.write_text(SWEEP.replace("trials: 3", "trials: 2").replace("checkpoints: 1", "checkpoints: 2"))
    command = ("sweep", str(file), "--home", str(tmp_path / "home"))

    away = rnnexp(*command, MLFLOW_TRACKING_URI=address)
    assert away.returncode == 0, away.stdout + away.stderr
    assert "MLflow cannot be written" in away.stdout
    assert "MLflow lacks records of 2 trials; the same command sends them" in away.stdout
    assert not (tmp_path / "home" / "mlflow.db").exists(), "no second place for the runs"

    with _server(tmp_path, port):
        there = rnnexp(*command, MLFLOW_TRACKING_URI=address)
        assert there.returncode == 0, there.stdout + there.stderr
        assert "MLflow lacks" not in there.stdout
        client = MlflowClient(tracking_uri=address)
        experiment = client.get_experiment_by_name("small")
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id])
        assert sorted(run.data.tags.get("rnnexp.trial", "study") for run in runs) == ["0", "1", "study"]
        assert {run.info.status for run in runs} == {"FINISHED"}
        for run in runs:
            names = {item.path for item in client.list_artifacts(run.info.run_id)}
            if "rnnexp.trial" in run.data.tags:
                assert {"config.yaml", "history.csv", "curves.png", "log.txt", "checkpoints"} <= names
        assert client.get_model_version_by_alias("small", "best").name == "small"
