"""Stale RUNNING trials, orphan processes, incomplete events, and runs of an earlier version."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rnnexp import locks
from rnnexp.storage.study_lock import hold_study_lock
from rnnexp.trial import events
from rnnexp.trial.cursor import Cursor
from rnnexp.trial.events import AttemptEnded, EpochEnded, Finished, Started
from tests.health.conftest import STUDY, HomeCopy, make_waiting, wait_until

pytestmark = pytest.mark.tensorflow

_HOLDER = """
import fcntl, sys, time
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(300)
"""


def test_a_stale_running_trial_is_set_back_to_waiting(home_copy: HomeCopy) -> None:
    make_waiting(home_copy, 2)
    home_copy.trial(2).state.unlink()
    home_copy.find_one("trials", "small trial 2", "no supervisor runs it")
    home_copy.repair()
    assert [row["state"] for row in home_copy.rows()] == ["COMPLETE", "COMPLETE", "WAITING"]
    last = events.read(home_copy.trial(2).events)[-1]
    assert isinstance(last, AttemptEnded)
    assert last.state == "WAITING"
    assert home_copy.client().get_run(home_copy.run_id(2)).info.status == "KILLED"


def test_a_running_study_is_not_checked(home_copy: HomeCopy, capsys: pytest.CaptureFixture[str]) -> None:
    make_waiting(home_copy, 2)
    home_copy.trial(1).best.unlink()
    with hold_study_lock(home_copy.home, STUDY):
        assert home_copy.findings() == []
        assert home_copy.doctor("--repair") == 0
    assert "not checked, because they are running: small" in capsys.readouterr().out
    assert not home_copy.trial(1).best.exists()


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux lists the holders of a lock")
def test_an_orphan_process_is_killed(home_copy: HomeCopy) -> None:
    lock = home_copy.trial(2).lock
    with subprocess.Popen([sys.executable, "-c", _HOLDER, str(lock)], stdout=subprocess.PIPE, text=True) as orphan:
        assert orphan.stdout is not None
        try:
            assert orphan.stdout.readline() == "held\n"
            assert locks.holders(lock) == [orphan.pid]
            assert f"process {orphan.pid}" in home_copy.find_one("orphans", "small trial 2").what
            assert home_copy.repair() == [f"killed process {orphan.pid}"]
            wait_until(lambda: orphan.poll() is not None)
            assert orphan.returncode == -signal.SIGKILL
        finally:
            orphan.kill()


def test_a_process_that_only_has_the_lock_file_open_is_not_killed(home_copy: HomeCopy) -> None:
    lock = home_copy.trial(2).lock
    idle = subprocess.Popen(
        [sys.executable, "-c", "import sys; file = open(sys.argv[1]); sys.stdin.read()", str(lock)],
        stdin=subprocess.PIPE,
    )
    try:
        wait_until(lambda: any(os.path.realpath(link) == str(lock) for link in Path(f"/proc/{idle.pid}/fd").iterdir()))
        assert locks.holders(lock) == []
        assert home_copy.findings() == []
        assert idle.poll() is None
    finally:
        idle.kill()
        idle.communicate()


def test_a_missing_closing_event_is_added(home_copy: HomeCopy) -> None:
    path = home_copy.trial(1).events
    path.write_text("".join(line + "\n" for line in path.read_text().splitlines() if '"attempt_ended"' not in line))
    home_copy.find_one("trials", "small trial 1", "no closing event")
    home_copy.repair()
    assert isinstance(events.read(path)[-1], AttemptEnded)


def test_an_incomplete_line_is_not_a_finding(home_copy: HomeCopy) -> None:
    path = home_copy.trial(1).events
    first, rest = path.read_text().split("\n", 1)
    path.write_text(f'{first}\n{{"event": "epoch_en\n{rest}{{"event": "evic')
    assert home_copy.findings() == []


@pytest.mark.parametrize("kept", [0, 2, 3])
def test_missing_events_are_restored(home_copy: HomeCopy, kept: int) -> None:
    path = home_copy.trial(1).events
    before = events.read(path)
    path.write_text("".join(f"{line}\n" for line in path.read_text().splitlines()[:kept]))
    rows = home_copy.rows()
    home_copy.find_one("trials", "small trial 1", "its events lack")
    home_copy.repair()
    after = events.read(path)
    assert [type(event) for event in after] == [Started, EpochEnded, EpochEnded, Finished, AttemptEnded]
    for old, new in zip(before, after, strict=True):
        # The time of an epoch comes from MLflow; those of the result and the closing event come from Optuna and differ.
        assert new.time == pytest.approx(old.time, abs=0.01 if isinstance(old, EpochEnded) else 60)
        if isinstance(old, EpochEnded) and isinstance(new, EpochEnded):
            assert (new.epoch, new.metrics, new.best_epoch, new.best_value) == (
                *(old.epoch, old.metrics, old.best_epoch, old.best_value),
            )
            assert new.seconds == pytest.approx(old.seconds, abs=0.001)
        if isinstance(old, Finished) and isinstance(new, Finished):
            assert (new.ended, new.best_epoch, new.metrics, new.n_params) == (
                *(old.ended, old.best_epoch, old.metrics, old.n_params),
            )
        if isinstance(old, Started) and isinstance(new, Started) and kept == 0:
            assert new.data.items() <= old.data.items()
            assert new.plan == {**old.plan, "bucket_lengths": list(old.plan["bucket_lengths"])}
    assert home_copy.rows() == rows


def test_events_that_cannot_be_restored_are_reported_as_lost(
    home_copy: HomeCopy, capsys: pytest.CaptureFixture[str]
) -> None:
    path = home_copy.trial(1).events
    path.write_text("".join(f"{line}\n" for line in path.read_text().splitlines()[:2]))
    home_copy.sql("mlflow.db", "DELETE FROM metrics WHERE run_uuid = ? AND step = 2", home_copy.run_id(1))
    assert home_copy.doctor("--repair") == 1
    assert "that part of its curve is lost" in capsys.readouterr().out
    run = home_copy.client().get_run(home_copy.run_id(1))
    assert (run.info.status, run.data.metrics["best_epoch"]) == ("FINISHED", 2.0), "MLflow must keep what it has"
    assert home_copy.doctor("--repair") == 1
    assert "repaired" not in capsys.readouterr().out
    assert home_copy.rows()[1]["state"] == "COMPLETE"


def test_a_checkpoint_after_missing_epochs_is_removed(home_copy: HomeCopy) -> None:
    make_waiting(home_copy, 2)
    path = home_copy.trial(2).events
    path.write_text(path.read_text().splitlines()[0] + "\n")
    assert home_copy.rows()[2]["state"] == "RUNNING"
    home_copy.repair()
    assert not home_copy.trial(2).state.exists()


def test_train_runs_of_an_earlier_version_are_not_changed(home_copy: HomeCopy) -> None:
    """Their folder has no sweep file, and their experiment belongs to no study."""
    folder = home_copy.home.study("train").trial(0)
    folder.root.mkdir(parents=True)
    folder.config.write_bytes(home_copy.trial(1).config.read_bytes())
    lines = home_copy.trial(1).events.read_text().splitlines()
    folder.events.write_text("\n".join(lines[:2]) + "\n")
    (folder.root / "writing-state.npz").write_bytes(b"x" * 1000)
    client, artifacts = home_copy.client(), home_copy.home.experiment_artifacts("train")
    experiment = client.create_experiment("train", artifact_location=str(artifacts))
    run = client.create_run(experiment, tags={"rnnexp.study": "train", "rnnexp.study_id": "train", "rnnexp.trial": "0"})
    client.log_text(run.info.run_id, "log", "log.txt")
    unknown = artifacts / ("a" * 32)  # as after a rebuild of MLflow's database
    unknown.mkdir()
    Cursor(run.info.run_id, 1).save(folder.tracking)
    for path in (folder.root, *folder.root.iterdir()):
        os.utime(path, (time.time() - 3600,) * 2)
    before = {path: path.read_bytes() for path in folder.root.iterdir()}
    assert home_copy.findings() == []
    assert home_copy.doctor("--repair") == 0
    assert {path: path.read_bytes() for path in folder.root.iterdir()} == before
    assert client.get_run(run.info.run_id).info.status == "RUNNING"
    assert [item.path for item in client.list_artifacts(run.info.run_id)] == ["log.txt"]
    assert unknown.is_dir()


def test_an_orphan_lock_of_an_old_train_run_is_ignored(home_copy: HomeCopy) -> None:
    folder = home_copy.home.study("train").trial(0)
    with locks.held(folder.lock):
        assert home_copy.findings() == []


def test_a_lost_database_does_not_change_old_train_runs(home_copy: HomeCopy) -> None:
    folder = home_copy.home.study("train").trial(0)
    folder.root.mkdir(parents=True)
    Cursor("f" * 32, 1).save(folder.tracking)
    content = folder.tracking.read_bytes()
    for name in ("optuna.db", "mlflow.db"):
        for suffix in ("", "-wal", "-shm"):
            (home_copy.root / (name + suffix)).unlink(missing_ok=True)
    home_copy.repair()
    assert folder.tracking.read_bytes() == content
