"""`rnnexp sweep --engine ray` while nodes and processes are killed: the results are those of one machine."""

import json
import os
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest

from rnnexp.home import Home
from rnnexp.trial import events
from rnnexp.trial.events import Started
from tests.e2e.conftest import SWEEP, BackgroundCommand, one_line, rnnexp
from tests.ray_cluster import TestCluster, running_cluster

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.skipif(find_spec("ray") is None, reason="needs the extra `ray`"),
]

LONG = (
    SWEEP.replace("epochs: 2", "epochs: 14")
    .replace("trials: 3", "trials: 4")
    .replace("checkpoints: 1", "checkpoints: 9")
)


@pytest.fixture(scope="module")
def cluster() -> Iterator[TestCluster]:
    with running_cluster(2) as cluster:
        yield cluster


def rows(home: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(rnnexp("trials", "small", "--json", "--home", str(home)).stdout)
    return found


def curve(home: Path, number: int) -> list[dict[str, float]]:
    trial_events = events.read(Home.at(home).study("small").trial(number).events)
    return [epoch.metrics for epoch in events.epochs(trial_events)]


def test_a_node_and_a_trial_are_killed_and_the_results_stay_the_same(tmp_path: Path, cluster: TestCluster) -> None:
    file, here, there = tmp_path / "sweep.yaml", tmp_path / "here", tmp_path / "there"
    file.write_text(LONG)
    done = rnnexp("sweep", str(file), "--home", str(here))
    assert done.returncode == 0, done.stderr
    running = BackgroundCommand(
        ["sweep", str(file), "--home", str(there), "--engine", "ray", "--address", cluster.address]
    )
    running.read_until("trial 1 epoch 2/14")
    started = [
        event for event in events.read(Home.at(there).study("small").trial(1).events) if isinstance(event, Started)
    ]
    os.kill(started[-1].pid, signal.SIGKILL)
    running.read_until("trial 1 WAITING: its process was killed by SIGKILL; it resumes from its last epoch")
    running.read_until("epoch 4/14")
    cluster.kill_node(cluster.nodes[0])
    cluster.add_node()
    assert running.end() == 0, "".join(running.lines)
    output = "".join(running.lines)
    assert "Ray" in output
    assert "Traceback" not in output
    kept = ("number", "state", "value", "best_epoch", "settings", "metrics")
    assert [[row[key] for key in kept] for row in rows(there)] == [[row[key] for key in kept] for row in rows(here)]
    assert [curve(there, number) for number in range(4)] == [curve(here, number) for number in range(4)]
    assert sum(row["attempts"] for row in rows(there)) >= 6, "one more for the trial and one for the node"
    done = rnnexp("doctor", "--home", str(there), "--no-devices")
    assert done.returncode == 0, done.stdout
    done = rnnexp("export", "small", "--home", str(there), "--to", str(tmp_path / "best"), "--format", "keras")
    assert (done.returncode, done.stderr) == (0, "")


def test_ctrl_c_ends_the_slots_and_the_same_command_resumes(tmp_path: Path, cluster: TestCluster) -> None:
    file, home = tmp_path / "sweep.yaml", tmp_path / "home"
    file.write_text(LONG.replace("epochs: 14", "epochs: 400"))
    arguments = ["sweep", str(file), "--home", str(home), "--engine", "ray", "--address", cluster.address]
    running = BackgroundCommand(arguments)
    running.read_until("epoch 2/400")
    pids = [
        event.pid
        for number in range(2)
        for event in events.read(Home.at(home).study("small").trial(number).events)
        if isinstance(event, Started)
    ]
    os.killpg(running.process.pid, signal.SIGINT)
    assert running.end() == 130
    assert {row["state"] for row in rows(home)} == {"WAITING"}
    _, alive = psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=20)
    assert not alive


def test_a_wrong_token_is_refused_with_one_line(tmp_path: Path, cluster: TestCluster) -> None:
    file, home = tmp_path / "sweep.yaml", tmp_path / "home"
    file.write_text(SWEEP)
    arguments = ("sweep", str(file), "--home", str(home), "--engine", "ray", "--address", cluster.address)
    done = rnnexp(*arguments, RAY_AUTH_TOKEN="another-token-0123456789")
    one_line(done, "its token is missing or wrong; set RAY_AUTH_MODE=token")
    assert "another-token" not in done.stderr + done.stdout
    assert not home.exists()
