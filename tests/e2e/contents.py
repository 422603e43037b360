"""Checks what every run in MLflow must contain, with MLflow's own client."""

from pathlib import Path
from typing import Any
from unittest import mock

from rnnexp.config.trial import setting_names


def open_client(home: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")


def check_runs(client: Any, study: str, rows: list[dict[str, Any]], keep: int) -> list[dict[str, Any]]:
    """Checks every trial's run; returns the rows, best first. The best few and the newest keep their models."""
    ranked = sorted(rows, key=lambda row: (-row["value"], row["number"]))
    others = [row for row in ranked[keep:] if client.list_artifacts(row["run_id"], "checkpoints")]
    assert len(others) <= 1, "besides the best ones, only the newest may be kept"
    for row in rows:
        check_run(client, study, row, kept=row in ranked[:keep] or row in others)
    return ranked


def check_run(client: Any, study: str, row: dict[str, Any], *, kept: bool) -> None:
    """Checks one trial's run against its row in `rnnexp trials --json`."""
    run = client.get_run(row["run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.tags["rnnexp.study"] == study
    assert run.data.tags["rnnexp.trial"] == str(row["number"])
    assert run.data.tags["rnnexp.state"] == row["state"]
    assert run.data.tags["rnnexp.attempts"] == str(row["attempts"])

    assert set(run.data.params) == set(setting_names())
    for name, value in row["settings"].items():
        assert run.data.params[name] == str(value)

    curves = {
        name: client.get_metric_history(row["run_id"], name)
        for name in ("loss", "accuracy", "val_loss", "val_accuracy")
    }
    n_epochs = len(curves["loss"])
    for curve in curves.values():
        assert [point.step for point in curve] == list(range(1, n_epochs + 1))
    best = run.data.metrics["best_epoch"]
    assert best == row["best_epoch"]
    assert run.data.metrics["best_val_accuracy"] == row["value"] == curves["val_accuracy"][int(best) - 1].value
    assert run.data.metrics["n_params"] > 0
    assert run.data.metrics["train_seconds"] > 0

    names = {item.path for item in client.list_artifacts(row["run_id"])}
    assert {"config.yaml", "history.csv", "curves.png", "log.txt"} <= names
    checkpoints = [item.path for item in client.list_artifacts(row["run_id"], "checkpoints")]
    if kept:
        # A server gets the probabilities, too: other machines export from there.
        assert set(checkpoints) - {"checkpoints/held_out.npz"} == {"checkpoints/best.keras"}
    else:
        assert checkpoints == []
        assert run.data.tags["rnnexp.checkpoint"] == "evicted"

    contexts = {item.tags[0].value: item.dataset for item in run.inputs.dataset_inputs}
    assert set(contexts) == {"training", "validation"}
    assert contexts["training"].name == run.data.params["data.name"]


def check_study(client: Any, study: str, best: dict[str, Any]) -> None:
    """Checks the study's own run, and its best model with its signature."""
    experiment = client.get_experiment_by_name(study)
    runs = client.search_runs([experiment.experiment_id], filter_string="tags.`rnnexp.kind` = 'study'")
    assert len(runs) == 1
    assert {item.path for item in client.list_artifacts(runs[0].info.run_id)} >= {
        "sweep.yaml",
        "report.html",
        "trials.csv",
    }
    version = client.get_model_version_by_alias(study, "best")
    (model,) = [
        m
        for m in client.search_logged_models([experiment.experiment_id])
        if m.model_id == version.source.split("/")[-1]
    ]
    assert model.tags["rnnexp.trial"] == str(best["number"])
    signature = _signature(client, model.artifact_location)
    assert signature is not None
    assert "string" in str(signature.inputs)


def _signature(client: Any, model: str) -> Any:
    """Returns the signature of a logged model. Leaves this process's setting of MLflow as it was."""
    import mlflow
    from mlflow.models import get_model_info

    with mock.patch.dict("os.environ"):  # MLflow also sets it there, and the commands of later tests would read it
        mlflow.set_tracking_uri(client.tracking_uri)
        try:
            return get_model_info(model).signature
        finally:
            mlflow.set_tracking_uri(None)
