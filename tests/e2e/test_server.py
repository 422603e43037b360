"""The MLflow server of MLFLOW_TRACKING_URI is down during a sweep, and up again later."""

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


def test_an_outage_fails_no_trial_and_the_records_are_sent_later(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    port = _free_port()
    address = f"http://127.0.0.1:{port}"
    file = tmp_path / "sweep.yaml"
    # Keep both models, so that the result does not depend on which trial ends last.
    file.write_text(SWEEP.replace("trials: 3", "trials: 2").replace("checkpoints: 1", "checkpoints: 2"))
    command = ("sweep", str(file), "--home", str(tmp_path / "home"))

    during = rnnexp(*command, MLFLOW_TRACKING_URI=address)
    assert during.returncode == 0, during.stdout + during.stderr
    assert "MLflow cannot be written" in during.stdout
    assert "MLflow lacks the records of 2 trials; run the same command to send them" in during.stdout
    assert not (tmp_path / "home" / "mlflow.db").exists(), "the runs must not be written elsewhere"

    with _server(tmp_path, port):
        after = rnnexp(*command, MLFLOW_TRACKING_URI=address)
        assert after.returncode == 0, after.stdout + after.stderr
        assert "MLflow lacks" not in after.stdout
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
