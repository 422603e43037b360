"""Deleting a study: only what belongs to it is deleted in MLflow, and the marker file is removed last."""

import os
from pathlib import Path
from typing import Any

import pytest

from rnnexp.cli import main
from rnnexp.errors import StudyError, WorkError
from rnnexp.home import Home
from rnnexp.storage.views import view
from rnnexp.study import deletion
from rnnexp.tracking import best_model, experiments
from tests.tracking import studies

pytestmark = pytest.mark.integration  # each test creates a database of MLflow


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def _study(home: Home, name: str, accuracy: float = 0.6) -> str:
    studies.finish_trial(home, name, accuracy)
    return studies.send(home, name)


def test_the_study_of_another_home_stays(on_server: str, tmp_path: Path) -> None:
    first, second = Home.open(tmp_path / "a"), Home.open(tmp_path / "b")
    bundle = studies.a_bundle(tmp_path)
    for home in (first, second):
        _study(home, "shared")
        studies.record(home, "shared", bundle)
    client = studies.client(on_server)
    before = set(studies.runs(on_server, "shared"))
    records = deletion.delete(first, "shared")
    assert len(records.run_ids) == 2, "the trial's and the study's"
    assert (records.n_others, records.n_other_versions) == (3, 1), "two runs and a model; a version"
    left = studies.runs(on_server, "shared")
    assert set(left) == before - records.run_ids
    assert len(left) == 2
    assert [str(version.version) for version in experiments.versions(client, "shared")] == ["2"]
    assert client.get_experiment_by_name("shared").lifecycle_stage == "active"
    assert not first.study("shared").root.exists()

    records = deletion.delete(second, "shared")
    assert (records.n_others, records.n_other_versions) == (0, 0)
    assert client.get_experiment_by_name("shared") is None
    assert list(experiments.versions(client, "shared")) == []
    with pytest.raises(Exception, match="not found"):
        client.get_registered_model("shared")


def test_a_deleted_run_of_another_home_keeps_the_experiment(on_server: str, tmp_path: Path) -> None:
    """Its owner may restore it."""
    first, second = Home.open(tmp_path / "a"), Home.open(tmp_path / "b")
    _study(first, "trash")
    other = _study(second, "trash")
    client = studies.client(on_server)
    client.delete_run(other)
    assert deletion.delete(first, "trash").n_others == 1
    assert client.get_experiment_by_name("trash").lifecycle_stage == "active"
    client.restore_run(other)
    assert set(studies.runs(on_server, "trash")) == {other}


def test_a_copied_home_deletes_only_its_own_runs(on_server: str, tmp_path: Path) -> None:
    import shutil

    original, copy = Home.open(tmp_path / "a"), Home.open(tmp_path / "b")
    run_id = _study(original, "twice")
    shutil.copytree(original.root, copy.root)
    assert deletion.delete(copy, "twice").run_ids == frozenset()
    assert set(studies.runs(on_server, "twice")) == {run_id}


def test_runs_on_all_pages_are_deleted(on_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiments, "_PAGE_SIZE", 2)
    first, second = Home.open(tmp_path / "a"), Home.open(tmp_path / "b")
    for home in (first, second):
        for number in range(3):
            studies.finish_trial(home, "pages", 0.6)
            studies.send(home, "pages", number)
    assert len(deletion.delete(first, "pages").run_ids) == 3
    assert len(studies.runs(on_server, "pages")) == 3


def test_a_server_out_of_reach_is_reported_and_the_deletion_can_be_repeated(
    on_server: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    home = Home.open(tmp_path / "a")
    _study(home, "unreachable")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    command = ["delete", "unreachable", "--yes", "--home", str(home.root)]
    assert main(command) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert home.study("unreachable").deleted.exists()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", on_server)
    assert main(command) == 0
    assert studies.client(on_server).get_experiment_by_name("unreachable") is None


@pytest.mark.usefixtures("local")
def test_a_registered_model_after_the_first_hundred_is_deleted(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    bundle = studies.a_bundle(tmp_path)
    _study(home, "zebra")
    studies.record(home, "zebra", bundle)
    client = studies.client(home.mlflow_uri)
    for number in range(101):
        client.create_registered_model(f"model-{number:03d}")
    deletion.delete(home, "zebra")
    assert not client.search_registered_models("name = 'zebra'")
    assert len(client.search_registered_models(max_results=200)) == 101


@pytest.mark.usefixtures("local")
def test_a_champion_goes_with_its_certification(tmp_path: Path) -> None:
    home, bundle = Home.open(tmp_path / "home"), studies.a_bundle(tmp_path)
    _study(home, "sure")
    studies.record(home, "sure", bundle)
    _study(home, "sure-certify", 0.7)
    best = view(home, "sure-certify").best
    assert best is not None
    best_model.log(home, view(home, "sure"), best, bundle, studies.write_model, best_model.CHAMPION)
    client = studies.client(home.mlflow_uri)
    assert len(list(experiments.versions(client, "sure"))) == 2
    deletion.delete(home, "sure-certify")
    assert [version.version for version in experiments.versions(client, "sure")] == [1]
    assert str(client.get_model_version_by_alias("sure", "best").version) == "1"


@pytest.mark.usefixtures("local")
def test_the_users_own_run_and_its_files_stay(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    own = _study(home, "mixed")
    client = studies.client(home.mlflow_uri)
    experiment = client.get_experiment_by_name("mixed")
    note = client.create_run(experiment.experiment_id).info.run_id
    client.log_text(note, "text", "note.txt")
    assert deletion.delete(home, "mixed").n_others == 1
    place = home.experiment_artifacts("mixed")
    assert (place / note / "artifacts" / "note.txt").exists()
    assert not (place / own).exists()
    assert set(studies.runs(home.mlflow_uri, "mixed")) == {note}


@pytest.mark.usefixtures("local")
def test_an_experiment_with_traces_of_others_stays(tmp_path: Path) -> None:
    from mlflow.entities import TraceInfo, TraceLocation, TraceState

    home = Home.open(tmp_path / "home")
    _study(home, "traced")
    client = studies.client(home.mlflow_uri)
    place = TraceLocation.from_experiment_id(client.get_experiment_by_name("traced").experiment_id)
    trace = TraceInfo(trace_id="tr-1", trace_location=place, request_time=1, state=TraceState.OK)
    client._tracking_client.store.start_trace(trace)
    assert deletion.delete(home, "traced").n_others == 1
    assert client.get_experiment_by_name("traced").lifecycle_stage == "active"


@pytest.mark.usefixtures("local")
def test_an_experiment_that_was_deleted_in_the_ui_frees_its_name(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    _study(home, "gone")
    client = studies.client(home.mlflow_uri)
    client.delete_experiment(client.get_experiment_by_name("gone").experiment_id)
    deletion.delete(home, "gone")
    assert client.get_experiment_by_name("gone") is None
    _study(home, "gone")
    assert len(studies.runs(home.mlflow_uri, "gone")) == 1


@pytest.mark.usefixtures("local")
def test_the_marker_stays_until_all_files_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home.open(tmp_path / "home")
    studies.finish_trial(home, "marked", 0.6)
    unlink = os.unlink

    def fail_on_events(path: Any, *args: Any, **keywords: Any) -> None:
        if str(path).endswith("events.jsonl"):
            raise OSError(5, "Input/output error", str(path))
        unlink(path, *args, **keywords)

    monkeypatch.setattr(os, "unlink", fail_on_events)
    with pytest.raises(WorkError, match=r"events\.jsonl cannot be removed"):
        deletion.delete(home, "marked")
    assert home.study("marked").deleted.exists()
    assert home.study("marked").trial(0).events.exists()
    with pytest.raises(StudyError, match="deletion was interrupted"):
        studies.finish_trial(home, "marked", 0.6)
    monkeypatch.undo()
    deletion.delete(home, "marked")
    assert not home.study("marked").root.exists()


@pytest.mark.usefixtures("local")
def test_a_study_that_only_has_a_folder_can_be_deleted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from rnnexp.storage import database

    home = Home.open(tmp_path / "home")
    run_id = _study(home, "folder")
    home.optuna_db.unlink()
    database.open_storage.cache_clear()
    assert main(["delete", "folder", "--yes", "--home", str(home.root)]) == 0
    assert not home.study("folder").root.exists()
    assert studies.client(home.mlflow_uri).get_run(run_id).info.lifecycle_stage == "deleted"
    (tmp_path / "precious").mkdir()
    assert main(["delete", "../../precious", "--yes", "--home", str(home.root)]) == 2
    assert "no study ../../precious" in capsys.readouterr().err
    assert (tmp_path / "precious").is_dir()
