"""Optuna, the events and the processes: zombies, orphans, records that end too early."""

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
from rnnexp.trial.events import AttemptEnded, EpochEnded, Finished, Started
from tests.health.conftest import STUDY, Patient, until, waits

pytestmark = pytest.mark.tensorflow

_HOLDER = """
import fcntl, sys, time
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(300)
"""


def test_a_zombie_waits_again_and_the_study_goes_on(patient: Patient) -> None:
    waits(patient, 2)
    patient.trial(2).state.unlink()
    patient.named("trials", "small trial 2", "nobody runs it")
    patient.repair()
    assert [row["state"] for row in patient.rows()] == ["COMPLETE", "COMPLETE", "WAITING"]
    last = events.read(patient.trial(2).events)[-1]
    assert isinstance(last, AttemptEnded)
    assert last.state == "WAITING"
    assert patient.mlflow().get_run(patient.run_id(2)).info.status == "KILLED"


def test_a_study_that_is_run_is_not_looked_at(patient: Patient, capsys: pytest.CaptureFixture[str]) -> None:
    waits(patient, 2)
    patient.trial(1).best.unlink()
    with hold_study_lock(patient.home.study(STUDY).lock, STUDY):
        assert patient.findings() == []
        assert patient.doctor("--repair") == 0
    assert "not checked, because they are running: small" in capsys.readouterr().out
    assert not patient.trial(1).best.exists()


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux says who holds a lock")
def test_an_orphan_is_ended(patient: Patient) -> None:
    lock = patient.trial(2).lock
    with subprocess.Popen([sys.executable, "-c", _HOLDER, str(lock)], stdout=subprocess.PIPE, text=True) as orphan:
        assert orphan.stdout is not None
        try:
            assert orphan.stdout.readline() == "held\n"
            assert locks.holders(lock) == [orphan.pid]
            assert f"process {orphan.pid}" in patient.named("orphans", "small trial 2").what
            assert patient.repair() == [f"ended process {orphan.pid}"]
            until(lambda: orphan.poll() is not None)
            assert orphan.returncode == -signal.SIGKILL
        finally:
            orphan.kill()


def test_a_process_that_only_has_the_lock_file_open_is_not_ended(patient: Patient) -> None:
    lock = patient.trial(2).lock
    idle = subprocess.Popen(
        [sys.executable, "-c", "import sys; file = open(sys.argv[1]); sys.stdin.read()", str(lock)],
        stdin=subprocess.PIPE,
    )
    try:
        until(lambda: any(os.path.realpath(one) == str(lock) for one in Path(f"/proc/{idle.pid}/fd").iterdir()))
        assert locks.holders(lock) == []
        assert patient.findings() == []
        assert idle.poll() is None
    finally:
        idle.kill()
        idle.communicate()


def test_a_closing_event_that_was_not_written_is_added(patient: Patient) -> None:
    path = patient.trial(1).events
    path.write_text("".join(line + "\n" for line in path.read_text().splitlines() if '"closed"' not in line))
    patient.named("trials", "small trial 1", "do not say so")
    patient.repair()
    assert isinstance(events.read(path)[-1], AttemptEnded)


def test_a_torn_line_is_no_fault(patient: Patient) -> None:
    path = patient.trial(1).events
    first, rest = path.read_text().split("\n", 1)
    path.write_text(f'{first}\n{{"event": "epoch_en\n{rest}{{"event": "evic')
    assert patient.findings() == []


@pytest.mark.parametrize("kept", [0, 2, 3])
def test_events_that_were_cut_short_are_put_back(patient: Patient, kept: int) -> None:
    path = patient.trial(1).events
    before = events.read(path)
    path.write_text("".join(f"{line}\n" for line in path.read_text().splitlines()[:kept]))
    rows = patient.rows()
    patient.named("trials", "small trial 1", "its events lack")
    patient.repair()
    after = events.read(path)
    assert [type(event) for event in after] == [Started, EpochEnded, EpochEnded, Finished, AttemptEnded]
    for old, new in zip(before, after, strict=True):
        # An epoch's time is MLflow's; that of the result and the closing is Optuna's, a moment earlier or later.
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
    assert patient.rows() == rows


def test_what_nobody_has_is_said_to_be_lost(patient: Patient, capsys: pytest.CaptureFixture[str]) -> None:
    path = patient.trial(1).events
    path.write_text("".join(f"{line}\n" for line in path.read_text().splitlines()[:2]))
    patient.sql("mlflow.db", "DELETE FROM metrics WHERE run_uuid = ? AND step = 2", patient.run_id(1))
    assert patient.doctor("--repair") == 1
    assert "that part of its curve is lost" in capsys.readouterr().out
    run = patient.mlflow().get_run(patient.run_id(1))
    assert (run.info.status, run.data.metrics["best_epoch"]) == ("FINISHED", 2.0), "MLflow was told less than it had"
    assert patient.doctor("--repair") == 1
    assert "repaired" not in capsys.readouterr().out
    assert patient.rows()[1]["state"] == "COMPLETE"


def test_a_gap_before_a_checkpoint_makes_the_trial_begin_anew(patient: Patient) -> None:
    waits(patient, 2)
    path = patient.trial(2).events
    path.write_text(path.read_text().splitlines()[0] + "\n")
    assert patient.rows()[2]["state"] == "RUNNING"
    patient.repair()
    assert not patient.trial(2).state.exists()


def test_a_single_run_that_was_cut_off_is_closed(patient: Patient) -> None:
    folder = patient.home.single_runs().trial(0)
    folder.root.mkdir(parents=True)
    folder.config.write_bytes(patient.trial(1).config.read_bytes())
    lines = patient.trial(1).events.read_text().splitlines()
    folder.events.write_text("\n".join(lines[:2]) + "\n")
    assert patient.findings() == [], "it may just be running"
    for path in (folder.root, folder.config, folder.events):
        os.utime(path, (time.time() - 3600,) * 2)
    patient.named("trials", "train trial 0", "cut off")
    patient.repair()
    assert patient.mlflow().get_experiment_by_name("train") is not None
