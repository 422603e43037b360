"""Signals, a second supervisor, and requests from another shell, on real processes."""

import json
import os
import pty
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import SWEEP, BackgroundCommand, one_line, rnnexp
from tests.e2e.contents import open_client

pytestmark = pytest.mark.tensorflow


class RunningSweep(BackgroundCommand):
    """The small sweep with more epochs and trials, on two workers."""

    def __init__(self, root: Path, epochs: int = 12) -> None:
        self.home = root / "home"
        self.file = root / "sweep.yaml"
        self.file.write_text(SWEEP.replace("epochs: 2", f"epochs: {epochs}").replace("trials: 3", "trials: 4"))
        self.arguments = ["sweep", str(self.file), "--home", str(self.home), "--workers", "2"]
        super().__init__(self.arguments)

    def trials(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(rnnexp("trials", "small", "--json", "--home", str(self.home)).stdout)
        return found


def test_ctrl_c_then_the_same_command(tmp_path: Path) -> None:
    running = RunningSweep(tmp_path)
    running.read_until("epoch 2/12")
    os.killpg(running.process.pid, signal.SIGINT)  # Ctrl-C reaches every process of the group
    assert running.end() == 130, "".join(running.lines)
    assert "run the same command to resume" in "".join(running.lines)
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
    assert len(runs) == 5, "one run per trial, and the study's"
    for run in runs:
        assert run.info.status == "FINISHED"
        if "rnnexp.trial" in run.data.tags:
            assert "rnnexp.reason" not in run.data.tags, "the reason of an interruption is not the reason of the result"
            steps = [point.step for point in client.get_metric_history(run.info.run_id, "val_loss")]
            assert steps == list(range(1, 13))


def test_a_closed_terminal_then_the_same_command(tmp_path: Path) -> None:
    home, file = tmp_path / "home", tmp_path / "sweep.yaml"
    file.write_text(SWEEP.replace("epochs: 2", "epochs: 2000"))
    arguments = ["sweep", str(file), "--home", str(home), "--workers", "2"]
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a job of `nohup` ignores it
        os.execv(sys.executable, [sys.executable, "-m", "rnnexp", *arguments])
    shown = ""
    while "epoch" not in shown or "/2000" not in shown:
        shown += os.read(terminal, 4096).decode(errors="replace")
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 129
    rows = json.loads(rnnexp("trials", "small", "--json", "--home", str(home)).stdout)
    assert "WAITING" in {row["state"] for row in rows}
    assert "RUNNING" not in {row["state"] for row in rows}
    assert not list((home / "logs").glob("bug*"))
    done = rnnexp(*arguments, "--set", "train.epochs=2000", "--timeout", "5")
    assert "resumes" in done.stdout, done.stdout + done.stderr


def test_from_another_shell(tmp_path: Path) -> None:
    running = RunningSweep(tmp_path, epochs=2000)  # so that none finishes during the test
    running.read_until("epoch 1/2000")
    home = ("--home", str(running.home))

    second = rnnexp(*running.arguments)
    one_line(second, "study small is being run already, by process", str(running.process.pid), "rnnexp stop small")

    one_line(rnnexp("delete", "small", "--yes", *home), "is running", "rnnexp stop small")
    with_epochs = [row for row in running.trials() if row["value"] is not None]  # the others would have no result
    number = next(row["number"] for row in with_epochs if row["state"] == "RUNNING")
    stopped = rnnexp("stop", "small", str(number), *home)
    assert stopped.returncode == 0, stopped.stderr
    row = running.trials()[number]
    assert (row["state"], row["reason"]) == ("PRUNED", "stopped by hand")
    assert 0 < row["value"] < 1

    stopped = rnnexp("stop", "small", *home)
    assert stopped.returncode == 0, stopped.stderr
    assert running.end() == 143, "".join(running.lines)
    assert "RUNNING" not in {row["state"] for row in running.trials()}
    one_line(rnnexp("stop", "small", *home), "is not running")


def test_a_second_start_resumes_the_trials_of_a_killed_supervisor(tmp_path: Path) -> None:
    running = RunningSweep(tmp_path)
    running.read_until("epoch 3/12")
    pids = [int(pid) for pid in _children(running.process.pid)]
    running.process.kill()
    running.end()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()], "its processes still run"
    done = rnnexp(*running.arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "was interrupted; it resumes from its last epoch" in done.stdout
    assert [row["state"] for row in running.trials()] == ["COMPLETE"] * 4


def _children(pid: int) -> list[str]:
    """Returns the processes of a session, except for the first one."""
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
