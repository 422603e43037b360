"""What commands that need a model print with `--json` has the shape that docs/json.md tells."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import SWEEP, Ran, rnnexp
from tests.json_shapes import check, check_event

pytestmark = pytest.mark.tensorflow


def test_a_bundle_and_its_commands(bundle: Path, ran: Ran) -> None:
    check("predict", json.loads(rnnexp("predict", str(bundle), "--json", "good", "").stdout))
    check("evaluate", ran.json("evaluate", str(bundle), "--split", "validation"))
    check("verify", ran.json("verify", "small", "0"))
    check("manifest.json of a bundle", json.loads((bundle / "manifest.json").read_text()))
    command = [sys.executable, "-m", "rnnexp.runtime", str(bundle), "--json", "good"]
    check("predict", json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout))


def test_a_study_prints_its_events(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(SWEEP)
    done = rnnexp("sweep", str(file), "--trials", "2", "--json", "--home", str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    for event in events:
        check_event(event)
    kinds = [event["event"] for event in events]
    assert (kinds[0], kinds[-1]) == ("study", "end")
    assert kinds.count("trial_started") == kinds.count("trial_ended") == 2
    trials = json.loads(rnnexp("trials", "small", "--json", "--home", str(tmp_path / "home")).stdout)
    assert {event["trial"]: event["value"] for event in events if event["event"] == "trial_ended"} == {
        row["number"]: row["value"] for row in trials
    }
    best = max(trials, key=lambda row: (row["value"], -row["number"]))
    assert events[-1]["best"] == best
    assert events[-1]["exit_code"] == 0
    again = rnnexp("sweep", str(file), "--set", "train.epochs=9", "--json", "--home", str(tmp_path / "home"))
    assert again.returncode == 2
    (*_, end) = [json.loads(line) for line in again.stdout.splitlines()]
    check_event(end)
    assert end["exit_code"] == 2
    assert end["error"] == again.stderr.strip()
