"""Replays a trial's events into a real MLflow database."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from rnnexp import home_id
from rnnexp.config.trial import TrialConfig
from rnnexp.home import Home
from rnnexp.tracking.client import MovedError, open_client
from rnnexp.tracking.projection import Projection
from rnnexp.trial import events
from rnnexp.trial.cursor import Cursor
from rnnexp.trial.events import AttemptEnded, EpochEnded, Event, Failed, Finished, Started
from tests.tracking.studies import DATA


@pytest.fixture(scope="module")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home whose MLflow database has its tables; creating them takes seconds."""
    home = Home.open(tmp_path_factory.mktemp("empty") / "home")
    open_client(home)
    return home


@pytest.fixture
def home(empty_home: Home, tmp_path: Path) -> Home:
    shutil.copytree(empty_home.root, tmp_path / "home")
    return Home.at(tmp_path / "home")


def _add_events(home: Home, *new_events: Event) -> None:
    folder = home.study("s").trial(0)
    folder.root.mkdir(parents=True, exist_ok=True)
    folder.config.write_text(TrialConfig().to_yaml())
    for event in new_events:
        events.append(folder.events, event)


def _started(time: float, attempt: int = 1) -> Started:
    return Started(time, attempt, 0, 1, 10, DATA, {})


def _epoch(time: float, epoch: int) -> EpochEnded:
    metrics = {"loss": 0.5, "accuracy": 0.5, "val_loss": 1 / epoch, "val_accuracy": 0.5}
    return EpochEnded(time, epoch, metrics, 1.0, epoch, 0.5)


def _replayed_run(home: Home) -> Any:
    run_id = Projection.open(home, "s", "one").replay(0)
    assert run_id is not None
    return open_client(home).get_run(run_id)


def test_a_failed_trial_shows_its_reason_traceback_and_end_of_log(home: Home) -> None:
    _add_events(
        home,
        _started(1.0),
        Failed(2.0, "error", "ValueError: broken", "Traceback (most recent call last):\n  boom"),
        AttemptEnded(3.0, "FAIL", "ValueError: broken"),
    )
    home.study("s").trial(0).log.write_text("".join(f"line {number}\n" for number in range(100)))
    run = _replayed_run(home)
    assert run.info.status == "FAILED"
    assert run.data.tags["rnnexp.reason"] == "ValueError: broken"
    note = run.data.tags["mlflow.note.content"]
    assert "**Failed:** ValueError: broken" in note
    assert "boom" in note
    assert "line 99" in note
    assert "line 50" not in note
    artifacts = {item.path for item in open_client(home).list_artifacts(run.info.run_id)}
    assert {"traceback.txt", "log.txt"} <= artifacts


def test_trials_that_diverged_show_their_reason(home: Home) -> None:
    reason = "diverged at epoch 1: loss is nan"
    _add_events(home, _started(1.0), Failed(2.0, "diverged", reason), AttemptEnded(3.0, "PRUNED", reason))
    run = _replayed_run(home)
    assert (run.info.status, run.data.tags["rnnexp.state"]) == ("FINISHED", "PRUNED")
    assert run.data.tags["rnnexp.reason"] == reason
    assert "best_val_loss" not in run.data.metrics


def test_a_trial_that_diverged_later_shows_its_result_and_its_reason(home: Home) -> None:
    reason, largest = "diverged at epoch 2: loss is nan; the result is epoch 1", 3.4028234663852886e38
    epoch = _epoch(2.0, 1)
    epoch.metrics["clip/grad_norm"] = largest
    result = Finished(3.0, "diverged", 1, epoch.metrics, 10, 1.0, reason)
    _add_events(home, _started(1.0), epoch, result, AttemptEnded(4.0, "COMPLETE", reason))
    run = _replayed_run(home)
    assert (run.info.status, run.data.tags["rnnexp.state"]) == ("FINISHED", "COMPLETE")
    assert run.data.tags["rnnexp.reason"] == reason
    assert (run.data.metrics["best_val_loss"], run.data.metrics["clip/grad_norm"]) == (1.0, largest)


def test_the_duration_is_not_negative_if_the_clock_is_set_back(home: Home) -> None:
    _add_events(home, _started(1000.0), _epoch(400.0, 1), _epoch(500.0, 2), AttemptEnded(600.0, "FAIL", "killed"))
    run = _replayed_run(home)
    assert run.info.end_time >= run.info.start_time


def test_replay_without_cursor_gives_the_same_run_and_curve(home: Home) -> None:
    _add_events(home, _started(1.0), _epoch(2.0, 1), _epoch(3.0, 2), AttemptEnded(4.0, "WAITING", "interrupted"))
    first = _replayed_run(home)
    assert first.info.status == "KILLED"
    home.study("s").trial(0).tracking.unlink()
    second = _replayed_run(home)
    assert second.info.run_id == first.info.run_id
    history = open_client(home).get_metric_history(first.info.run_id, "val_loss")
    assert [(point.step, point.value) for point in history] == [(1, 1.0), (2, 0.5)]


def test_a_duplicate_run_is_deleted(home: Home) -> None:
    """A slow server may create a run after the sender has timed out and created another one."""
    _add_events(home, _started(1.0), _epoch(2.0, 1))
    run = _replayed_run(home)
    client = open_client(home)
    tags = {key: value for key, value in run.data.tags.items() if key.startswith("rnnexp.")}
    client.create_run(run.info.experiment_id, start_time=1000, tags=tags)
    _add_events(home, AttemptEnded(3.0, "FAIL", "killed"))
    assert _replayed_run(home).info.run_id == run.info.run_id
    assert [one.info.run_id for one in client.search_runs([run.info.experiment_id])] == [run.info.run_id]


def test_another_mlflow_receives_the_whole_record(home: Home) -> None:
    _add_events(home, _started(1.0), _epoch(2.0, 1), AttemptEnded(3.0, "FAIL", "killed"))
    Cursor("elsewhere", 3, "http://other:5000").save(home.study("s").trial(0).tracking)
    run = _replayed_run(home)
    assert run.info.run_id != "elsewhere"
    assert run.info.status == "FAILED"
    expected = Cursor(run.info.run_id, 3, "home", home_id.peek(home).value)
    assert Cursor.load(home.study("s").trial(0).tracking) == expected


def test_a_moved_home_is_refused_and_nothing_is_written_to_the_old_path(home: Home, tmp_path: Path) -> None:
    _add_events(home, _started(1.0), AttemptEnded(3.0, "FAIL", "killed"))
    _replayed_run(home)
    home.root.rename(tmp_path / "moved")
    with pytest.raises(MovedError, match="doctor --repair"):
        Projection.open(Home.at(tmp_path / "moved"), "s", "one")
    assert not home.root.exists()


def test_the_tracking_server_of_the_environment_is_used(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5999")
    assert home.tracking_uri == "http://127.0.0.1:5999"
    assert open_client(home).tracking_uri == "http://127.0.0.1:5999"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///elsewhere.db")
    assert home.tracking_uri == home.mlflow_uri, "a database of another program is not used"
