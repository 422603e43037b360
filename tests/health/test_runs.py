"""MLflow against the events: what somebody did in MLflow's pages, and cursors that are lost."""

from collections.abc import Callable
from typing import Any

import pytest

from rnnexp.trial.cursor import Cursor
from tests.e2e import contents
from tests.health.conftest import STUDY, Patient

pytestmark = pytest.mark.tensorflow


def _delete_run(patient: Patient, client: Any) -> None:
    client.delete_run(patient.run_id(1))


def _lose_run(patient: Patient, client: Any) -> None:
    for table in ("metrics", "latest_metrics", "params", "tags", "runs"):
        patient.sql("mlflow.db", f"DELETE FROM {table} WHERE run_uuid = ?", patient.run_id(1))


def _status(patient: Patient, client: Any) -> None:
    client.update_run(patient.run_id(1), status="RUNNING")


def _state_tag(patient: Patient, client: Any) -> None:
    client.set_tag(patient.run_id(1), "rnnexp.state", "FAIL")


def _trial_tag(patient: Patient, client: Any) -> None:
    client.set_tag(patient.run_id(1), "rnnexp.trial", "77")


def _second_run(patient: Patient, client: Any) -> None:
    first = client.get_run(patient.run_id(1))
    client.create_run(first.info.experiment_id, tags=dict(first.data.tags))


def _no_cursor(patient: Patient, client: Any) -> None:
    patient.trial(1).tracking.unlink()


def _damaged_cursor(patient: Patient, client: Any) -> None:
    patient.trial(1).tracking.write_text('{"run_id": "a')


def _behind(patient: Patient, client: Any) -> None:
    Cursor(patient.run_id(1), 3).save(patient.trial(1).tracking)


def _points(patient: Patient, client: Any) -> None:
    patient.sql("mlflow.db", "DELETE FROM metrics WHERE key = 'val_loss' AND step = 1")


def _experiment(patient: Patient, client: Any) -> None:
    client.delete_experiment(client.get_experiment_by_name(STUDY).experiment_id)


DAMAGES: dict[Callable[[Patient, Any], None], str] = {
    _delete_run: "no run in MLflow",
    _lose_run: "no run in MLflow",
    _status: "its run is RUNNING",
    _state_tag: "rnnexp.state is FAIL",
    _second_run: "it has 2 runs",
    _no_cursor: "is not known",
    _damaged_cursor: "is not known",
    _behind: "MLflow has 3 of its 5 events",
    _experiment: "its experiment was deleted",
}


@pytest.mark.parametrize(("damage", "words"), DAMAGES.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_run_that_differs_is_sent_again(patient: Patient, damage: Callable[[Patient, Any], None], words: str) -> None:
    client, before = patient.mlflow(), patient.run_id(1)
    damage(patient, client)
    patient.named("runs", STUDY, words)
    patient.repair()
    contents.check_runs(client, STUDY, patient.rows(), keep=2)
    if damage is not _lose_run:
        assert patient.run_id(1) == before, "the run was replaced, and need not have been"


def test_points_that_are_missing_are_sent_again(patient: Patient) -> None:
    _points(patient, patient.mlflow())
    assert [one.what for one in patient.findings()] == ["its run lacks points of val_loss"] * 3
    patient.repair()
    contents.check_runs(patient.mlflow(), STUDY, patient.rows(), keep=2)


def test_a_run_of_no_trial_is_deleted(patient: Patient) -> None:
    client = patient.mlflow()
    first = client.get_run(patient.run_id(1))
    tags = {**first.data.tags, "rnnexp.trial": "9"}
    made = client.create_run(first.info.experiment_id, tags=tags)
    others = client.create_run(first.info.experiment_id, run_name="the user's own")
    patient.named("runs", STUDY, "a trial 9 that there is not")
    patient.repair()
    known = [run.info.run_id for run in client.search_runs([first.info.experiment_id])]
    assert made.info.run_id not in known
    assert others.info.run_id in known


def test_a_run_whose_tag_names_another_trial_is_itself_again(patient: Patient) -> None:
    _trial_tag(patient, patient.mlflow())
    assert [one.what for one in patient.findings()] == ["it has no run in MLflow"]
    before = patient.run_id(1)
    patient.repair()
    assert patient.run_id(1) == before


def test_a_deleted_experiment_of_no_study_is_removed_for_good(patient: Patient) -> None:
    client = patient.mlflow()
    place = patient.home.experiment_artifacts("gone")
    made = client.create_experiment("gone", artifact_location=str(place))
    run = client.create_run(made)
    client.log_text(run.info.run_id, "x" * 5000, "text.txt")
    client.delete_experiment(made)
    assert patient.named("leftovers", "MLflow hides").frees_bytes == 5000
    patient.repair()
    assert not list(place.rglob("*.txt"))
    contents.check_runs(client, STUDY, patient.rows(), keep=2)
