"""The MLflow server of MLFLOW_TRACKING_URI is down during a sweep, and up again later."""

from pathlib import Path

import pytest

from tests.e2e.conftest import SWEEP, rnnexp
from tests.mlflow_server import free_port, running

pytestmark = pytest.mark.tensorflow


def test_an_outage_fails_no_trial_and_the_records_are_sent_later(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    port = free_port()
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

    with running(tmp_path, port):
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
