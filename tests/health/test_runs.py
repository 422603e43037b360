"""Differences between MLflow and the events: changes in MLflow's UI, lost rows, lost cursors."""

import os
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from rnnexp.health.mlflow_tables import active_runs
from rnnexp.tracking.maintenance import RunRecord, search_runs
from rnnexp.trial.cursor import Cursor
from tests.e2e import contents
from tests.health.conftest import STUDY, HomeCopy

pytestmark = pytest.mark.tensorflow


def _delete_run(home_copy: HomeCopy, client: Any) -> None:
    client.delete_run(home_copy.run_id(1))


def _lose_run(home_copy: HomeCopy, client: Any) -> None:
    for table in ("metrics", "latest_metrics", "params", "tags", "runs"):
        home_copy.sql("mlflow.db", f"DELETE FROM {table} WHERE run_uuid = ?", home_copy.run_id(1))


def _status(home_copy: HomeCopy, client: Any) -> None:
    client.update_run(home_copy.run_id(1), status="RUNNING")


def _state_tag(home_copy: HomeCopy, client: Any) -> None:
    client.set_tag(home_copy.run_id(1), "rnnexp.state", "FAIL")


def _trial_tag(home_copy: HomeCopy, client: Any) -> None:
    client.set_tag(home_copy.run_id(1), "rnnexp.trial", "77")


def _second_run(home_copy: HomeCopy, client: Any) -> None:
    first = client.get_run(home_copy.run_id(1))
    client.create_run(first.info.experiment_id, tags=dict(first.data.tags))


def _no_cursor(home_copy: HomeCopy, client: Any) -> None:
    home_copy.trial(1).tracking.unlink()


def _damaged_cursor(home_copy: HomeCopy, client: Any) -> None:
    home_copy.trial(1).tracking.write_text('{"run_id": "a')


def _behind(home_copy: HomeCopy, client: Any) -> None:
    Cursor(home_copy.run_id(1), 3).save(home_copy.trial(1).tracking)


def _points(home_copy: HomeCopy, client: Any) -> None:
    home_copy.sql("mlflow.db", "DELETE FROM metrics WHERE key = 'val_loss' AND step = 1")


def _experiment(home_copy: HomeCopy, client: Any) -> None:
    client.delete_experiment(client.get_experiment_by_name(STUDY).experiment_id)


DAMAGES: dict[Callable[[HomeCopy, Any], None], str] = {
    _delete_run: "no run in MLflow",
    _lose_run: "no run in MLflow",
    _status: "its run is RUNNING",
    _state_tag: "rnnexp.state is FAIL",
    _second_run: "it has 2 runs",
    _no_cursor: "it is not known",
    _damaged_cursor: "it is not known",
    _behind: "MLflow has 3 of its 5 events",
    _experiment: "its experiment was deleted",
}


@pytest.mark.parametrize(("damage", "words"), DAMAGES.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_run_that_differs_is_sent_again(
    home_copy: HomeCopy, damage: Callable[[HomeCopy, Any], None], words: str
) -> None:
    client, before = home_copy.client(), home_copy.run_id(1)
    damage(home_copy, client)
    home_copy.find_one("runs", STUDY, words)
    home_copy.repair()
    contents.check_runs(client, STUDY, home_copy.rows(), keep=2)
    if damage is not _lose_run:
        assert home_copy.run_id(1) == before, "the existing run should be used"


def test_missing_points_are_sent_again(home_copy: HomeCopy) -> None:
    _points(home_copy, home_copy.client())
    assert [finding.what for finding in home_copy.findings()] == ["its run lacks points of val_loss"] * 3
    home_copy.repair()
    contents.check_runs(home_copy.client(), STUDY, home_copy.rows(), keep=2)


def test_a_run_of_a_trial_that_does_not_exist_is_deleted(home_copy: HomeCopy) -> None:
    client = home_copy.client()
    first = client.get_run(home_copy.run_id(1))
    tags = {**first.data.tags, "rnnexp.trial": "9"}
    unknown = client.create_run(first.info.experiment_id, tags=tags)
    unrelated = client.create_run(first.info.experiment_id, run_name="the user's own")
    home_copy.find_one("runs", STUDY, "a run of trial 9, which does not exist")
    home_copy.repair()
    run_ids = [run.info.run_id for run in client.search_runs([first.info.experiment_id])]
    assert unknown.info.run_id not in run_ids
    assert unrelated.info.run_id in run_ids


def test_a_changed_trial_tag_is_corrected_in_the_same_run(home_copy: HomeCopy) -> None:
    _trial_tag(home_copy, home_copy.client())
    assert [finding.what for finding in home_copy.findings()] == ["it has no run in MLflow"]
    before = home_copy.run_id(1)
    home_copy.repair()
    assert home_copy.run_id(1) == before


def test_a_deleted_experiment_is_deleted_permanently(home_copy: HomeCopy) -> None:
    client = home_copy.client()
    place = home_copy.home.experiment_artifacts("gone")
    experiment = client.create_experiment("gone", artifact_location=str(place))
    run = client.create_run(experiment)
    client.log_text(run.info.run_id, "x" * 5000, "text.txt")
    client.delete_experiment(experiment)
    assert home_copy.find_one("leftovers", "MLflow still stores").frees_bytes == 5000
    home_copy.repair()
    assert not list(place.rglob("*.txt"))
    assert "MLFLOW_REGISTRY_URI" not in os.environ
    assert "MLFLOW_TRACKING_URI" not in os.environ, (
        "MLflow's command sets it, and later steps would take it for the user's"
    )
    contents.check_runs(client, STUDY, home_copy.rows(), keep=2)


def test_runs_read_from_the_tables_are_those_of_the_client(home_copy: HomeCopy) -> None:
    client = home_copy.client()
    experiment = client.get_experiment_by_name(STUDY)
    client.delete_run(home_copy.run_id(2))
    client.create_run(experiment.experiment_id, tags={"mine": "1"})
    client.create_run(client.create_experiment("other"), tags={"rnnexp.trial": "0"})

    def plain(runs: Iterable[RunRecord]) -> list[tuple[str, str, list[tuple[str, str]], list[str]]]:
        return sorted(
            (run.run_id, run.status, sorted(tag for tag in run.tags.items() if _is_own(tag[0])), sorted(run.metrics))
            for run in runs
        )

    found = active_runs(home_copy.home, experiment.experiment_id)
    assert plain(found) == plain(search_runs(client, experiment.experiment_id))
    assert {home_copy.run_id(0), home_copy.run_id(1)} < {run.run_id for run in found}
    assert all(_is_own(name) for run in found for name in run.tags)


def _is_own(tag: str) -> bool:
    return tag.startswith("rnnexp.")
