"""What MLflow's pages show of a whole study: ranks, colors, the experiment's description, the registered model."""

from pathlib import Path

import pytest

from rnnexp.commands import study_report
from rnnexp.home import Home
from rnnexp.storage.views import view
from rnnexp.tracking import best_model
from tests.tracking import studies

pytestmark = pytest.mark.integration  # MLflow's tables take seconds


@pytest.fixture(autouse=True)
def local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def finish(home: Home, accuracy: float) -> str:
    return studies.send(home, "s", studies.finish_trial(home, "s", accuracy))


def test_the_ranks_and_the_color_of_the_best_move(tmp_path: Path) -> None:
    home, bundle = Home.open(tmp_path / "home"), studies.a_bundle(tmp_path)
    first = finish(home, 0.6)
    studies.record(home, "s", bundle)
    tags = studies.runs(home.mlflow_uri, "s")[first].data.tags
    assert tags["rnnexp.rank"] == "1"
    assert "Rank 1 of 1." in tags["mlflow.note.content"]
    assert "mlflow.runColor" in tags
    second = finish(home, 0.7)
    studies.record(home, "s", bundle)
    runs = studies.runs(home.mlflow_uri, "s")
    assert [runs[run].data.tags["rnnexp.rank"] for run in (first, second)] == ["2", "1"]
    assert "Rank 2 of 2." in runs[first].data.tags["mlflow.note.content"]
    assert "mlflow.runColor" not in runs[first].data.tags
    assert "mlflow.runColor" in runs[second].data.tags
    units = runs[second].data.params["model.units"]
    assert runs[second].info.run_name == f"1 · {runs[second].data.params['model.cell']} {units} · 0.700"
    for _ in range(10):
        finish(home, 0.8)
    studies.record(home, "s", bundle)
    tags = studies.runs(home.mlflow_uri, "s")[first].data.tags
    assert "rnnexp.rank" not in tags, "it is not one of the best ten any more"
    assert "Rank" not in tags["mlflow.note.content"]


def test_the_experiment_and_the_study_s_run_have_the_answer_and_the_report(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    finish(home, 0.6)
    asked = studies.config("s").model_copy(update={"question": "Which size?"})
    home.study("s").sweep.write_text(asked.to_yaml())
    study_report.publish(home, view(home, "s"), 1.0)
    client = studies.client(home.mlflow_uri)
    experiment = client.get_experiment_by_name("s")
    assert experiment.tags["mlflow.note.content"].startswith("Which size?")
    assert "Trial 0 has the best val_accuracy: 0.6000" in experiment.tags["mlflow.note.content"]
    assert experiment.tags["mlflow.experiment.primaryMetric.name"] == "best_val_accuracy"
    (run,) = [run for run in studies.runs(home.mlflow_uri, "s").values() if run.data.tags.get("rnnexp.kind")]
    assert (run.info.run_name, run.info.status) == ("study s", "FINISHED")
    assert run.data.tags["mlflow.note.content"] == experiment.tags["mlflow.note.content"]
    assert "report.html" in [file.path for file in client.list_artifacts(run.info.run_id)]
    assert run.data.tags["rnnexp.command"]


def test_a_model_belongs_to_its_trial_s_run_with_the_metrics_of_its_epoch(tmp_path: Path) -> None:
    home, bundle = Home.open(tmp_path / "home"), studies.a_bundle(tmp_path)
    run_id = finish(home, 0.6)
    study = view(home, "s")
    assert study.best is not None
    assert best_model.log(home, study, study.best, bundle, studies.write_model, best_model.CHAMPION) is None
    client = studies.client(home.mlflow_uri)
    version = client.get_model_version_by_alias("s", "champion")
    assert version.run_id == run_id
    assert "val_accuracy 0.6000 at epoch 1" in version.description
    model = client.get_logged_model(version.source.removeprefix("models:/"))
    assert (model.source_run_id, model.name, str(model.status)) == (run_id, "s-trial-0", "READY")
    metrics = {metric.key: metric for metric in model.metrics}
    assert metrics["val_accuracy"].value == 0.6
    assert metrics["val_accuracy"].dataset_name == "fake"
    assert metrics["val_accuracy"].dataset_digest != metrics["accuracy"].dataset_digest
    (output,) = client.get_run(run_id).outputs.model_outputs
    assert (output.model_id, output.step) == (model.model_id, 1)
    assert best_model.log(home, study, study.best, bundle, studies.write_model, best_model.BEST) is None
    assert len(client.search_logged_models([model.experiment_id])) == 1, "a run has its model once"
    assert client.get_model_version_by_alias("s", "best").source == version.source
    assert best_model.is_logged(home, study)
    assert '"name": "s"' in model.tags["mlflow.modelVersions"], "the model's page names its versions"
