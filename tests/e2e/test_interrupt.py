"""Signals, a second supervisor, and requests from another shell, on real processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import SWEEP, one_line, rnnexp
from tests.e2e.contents import open_client

pytestmark = pytest.mark.tensorflow


class RunningTrial:
    """A sweep in a process group of its own, as a terminal would start it."""

    def __init__(self, root: Path, epochs: int = 12) -> None:
        self.home = root / "home"
        self.file = root / "sweep.yaml"
        self.file.write_text(SWEEP.replace("epochs: 2", f"epochs: {epochs}").replace("trials: 3", "trials: 4"))
        self.arguments = ["sweep", str(self.file), "--home", str(self.home), "--workers", "2"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rnnexp", *self.arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []

    def until(self, text: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if text in line:
                return
        raise AssertionError(f"never said {text!r}:\n{''.join(self.lines)}")

    def end(self) -> int:
        assert self.process.stdout is not None
        self.lines += self.process.stdout.readlines()
        self.process.stdout.close()
        return self.process.wait(60)

    def trials(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(rnnexp("trials", "small", "--json", "--home", str(self.home)).stdout)
        return found


def test_ctrl_c_then_the_same_command(tmp_path: Path) -> None:
    running = RunningTrial(tmp_path)
    running.until("epoch 2/12")
    os.killpg(running.process.pid, signal.SIGINT)  # Ctrl-C reaches every process of the group
    assert running.end() == 130, "".join(running.lines)
    assert "the same command goes on" in "".join(running.lines)
    before = running.trials()
    assert "RUNNING" not in {row["state"] for row in before}
    waiting = [row for row in before if row["state"] == "WAITING"]
    assert waiting, before
    client = open_client(running.home)
    for row in waiting:
        assert client.get_run(row["run_id"]).info.status == "KILLED"

    done = rnnexp(*running.arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    after = running.trials()
    assert [row["state"] for row in after] == ["COMPLETE"] * 4
    for row in waiting:
        again = after[row["number"]]
        assert again["run_id"] == row["run_id"]
        assert again["settings"] == row["settings"]
        assert again["attempts"] == 2
    experiment = client.get_experiment_by_name("small")
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 5, "one run a trial, and the study's"
    for run in runs:
        assert run.info.status == "FINISHED"
        if "rnnexp.trial" in run.data.tags:
            assert "rnnexp.reason" not in run.data.tags, "what once interrupted it is no reason of the result"
            steps = [point.step for point in client.get_metric_history(run.info.run_id, "val_loss")]
            assert steps == list(range(1, 13))


def test_from_another_shell(tmp_path: Path) -> None:
    running = RunningTrial(tmp_path, epochs=2000)  # none ends by itself while the other shell is busy
    running.until("epoch 1/2000")
    home = ("--home", str(running.home))

    second = rnnexp(*running.arguments)
    one_line(second, "study small is being run already, by process", str(running.process.pid), "rnnexp stop small")

    one_line(rnnexp("delete", "small", "--yes", *home), "is being run", "rnnexp stop small")
    states = {row["number"]: row["state"] for row in running.trials()}
    assert "RUNNING" in states.values()
    number = next(number for number, state in states.items() if state == "RUNNING")
    stopped = rnnexp("stop", "small", str(number), *home)
    assert stopped.returncode == 0, stopped.stderr
    row = running.trials()[number]
    assert (row["state"], row["reason"]) == ("PRUNED", "stopped by hand")
    assert 0 < row["value"] < 1

    stopped = rnnexp("stop", "small", *home)
    assert stopped.returncode == 0, stopped.stderr
    assert running.end() == 143, "".join(running.lines)
    assert "RUNNING" not in {row["state"] for row in running.trials()}
    one_line(rnnexp("stop", "small", *home), "is not being run")


def test_a_supervisor_that_is_killed_leaves_nothing_that_a_second_start_does_not_mend(tmp_path: Path) -> None:
    running = RunningTrial(tmp_path)
    running.until("epoch 3/12")
    pids = [int(pid) for pid in _children(running.process.pid)]
    running.process.kill()
    running.end()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()], "its processes live on"
    done = rnnexp(*running.arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "was interrupted; it resumes from its last epoch" in done.stdout
    assert [row["state"] for row in running.trials()] == ["COMPLETE"] * 4


def _children(pid: int) -> list[str]:
    """The processes of a session, the first one left out."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and int(path.name) != pid:
            try:
                fields = (path / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == pid:
                found.append(path.name)
    return found
