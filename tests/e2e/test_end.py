"""The end of a sweep: what is printed first, and what the next start completes when the command was killed there."""

import json
import os
import signal
from pathlib import Path

import pytest

from tests.e2e.conftest import SWEEP, BackgroundCommand, rnnexp
from tests.e2e.contents import check_runs, check_study, open_client

pytestmark = pytest.mark.tensorflow


class EndingSweep(BackgroundCommand):
    """The small sweep, run until its ranking is printed."""

    def __init__(self, root: Path) -> None:
        self.home, self.file = root / "home", root / "sweep.yaml"
        self.file.write_text(SWEEP)
        self.arguments = ["sweep", str(self.file), "--home", str(self.home)]
        super().__init__(self.arguments)
        self.read_until("rank  trial")

    def check_next_start(self) -> None:
        """Runs the same command again, and checks that the record is complete and nothing else was left."""
        done = rnnexp(*self.arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "best: trial" in done.stdout
        assert "started" not in done.stdout, "no trial is trained again"
        rows = json.loads(rnnexp("trials", "small", "--json", "--home", str(self.home)).stdout)
        client = open_client(self.home)
        check_study(client, "small", check_runs(client, "small", rows, keep=1)[0])
        assert len(client.search_model_versions("name = 'small'")) == 1
        folder = self.home / "work" / "small"
        assert (folder / "best" / "manifest.json").exists()
        assert not list(folder.glob(".best-*"))
        diagnosed = rnnexp("doctor", "--no-devices", "--json", "--home", str(self.home))
        assert diagnosed.returncode == 0, diagnosed.stdout


def test_a_command_that_is_killed_after_the_ranking_is_completed_by_the_next_start(tmp_path: Path) -> None:
    running = EndingSweep(tmp_path)
    assert not any("best: trial" in line for line in running.lines), "the ranking comes before the record"
    running.process.kill()
    running.end()
    running.check_next_start()


def test_ctrl_c_after_the_ranking_ends_the_command_and_leaves_nothing_incomplete(tmp_path: Path) -> None:
    running = EndingSweep(tmp_path)
    os.killpg(running.process.pid, signal.SIGINT)
    assert running.end() == 130, "".join(running.lines)
    assert not any("Traceback" in line for line in running.lines), "".join(running.lines)
    assert not list((tmp_path / "home" / "work" / "small").glob(".best-*"))
    running.check_next_start()
