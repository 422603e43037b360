"""A study whose trials are paused, killed in the middle, on real processes."""

from pathlib import Path
from typing import Any

import pytest

from rnnexp.home import Home
from rnnexp.trial import events
from tests.e2e.conftest import SWEEP, BackgroundCommand, Ran, rnnexp, sweep
from tests.e2e.contents import open_client

pytestmark = pytest.mark.tensorflow

TEXT = (
    SWEEP.replace(
        "pruner: {name: none}", "pruner: {name: successive_halving, pause: true, min_resource: 1, reduction_factor: 2}"
    )
    .replace("epochs: 2", "epochs: 4")
    .replace("trials: 3", "trials: 5")
)


def results(ran: Ran) -> list[tuple[Any, ...]]:
    """Returns what must not depend on an interruption."""
    folder = Home.at(ran.home).study("small")
    found = []
    for row in ran.json("trials", "small"):
        curve = events.epochs(events.read(folder.trial(row["number"]).events))
        values = [epoch.metrics for epoch in curve]
        found.append((row["settings"], row["state"], row["value"], row["best_epoch"], row["reason"], values))
    return found


def test_a_study_that_pauses_and_is_killed_has_the_results_of_one_that_is_not(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    whole = sweep(tmp_path / "whole", TEXT, "--workers", "1")
    assert "paused after epoch 1, 1st of 1 in its rung" in whole.output
    expected = results(whole)
    states = [state for _, state, *_ in expected]
    assert {"COMPLETE", "PRUNED"} == set(states)

    home, file = tmp_path / "home", tmp_path / "sweep.yaml"
    file.write_text(TEXT)
    arguments = ["sweep", str(file), "--home", str(home), "--workers", "1"]
    for when in ("trial 0 WAITING: paused", "epoch 3/4"):
        running = BackgroundCommand(arguments)
        running.read_until(when)
        running.process.kill()
        running.end()
    killed = Ran(home, file, "")
    waiting = [row for row in killed.json("trials", "small") if "paused" in (row["reason"] or "")]
    assert waiting
    done = rnnexp(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert results(killed) == expected
    rows = {row["number"]: row for row in killed.json("trials", "small")}
    assert all(rows[row["number"]]["run_id"] == row["run_id"] for row in waiting if row["run_id"] is not None)
    client = open_client(home)
    for row in rows.values():
        run = client.get_run(row["run_id"])
        shown = (run.info.status, run.data.tags["rnnexp.state"], run.data.tags.get("rnnexp.reason"))
        assert shown == ("FINISHED", row["state"], row["reason"])
    assert "no problem" in rnnexp("doctor", "--home", str(home)).stdout


def test_a_paused_trial_is_shown_in_lists_and_in_mlflow(tmp_path: Path) -> None:
    home, file = tmp_path / "home", tmp_path / "sweep.yaml"
    file.write_text(TEXT.replace("epochs: 4", "epochs: 400"))
    running = BackgroundCommand(["sweep", str(file), "--home", str(home), "--workers", "1"])
    running.read_until("epoch 3/400")
    ran = Ran(home, file, "")
    assert rnnexp("stop", "small", "--home", str(home)).returncode == 0
    running.end()
    row = next(row for row in ran.json("trials", "small") if "paused" in (row["reason"] or ""))
    assert row["state"] == "WAITING"
    assert row["reason"] in ran("trials", "small")
    assert row["reason"] in ran("show", "small", str(row["number"]))
    run = open_client(home).get_run(row["run_id"])
    assert run.info.status == "KILLED"
    assert (run.data.tags["rnnexp.state"], run.data.tags["rnnexp.reason"]) == ("WAITING", row["reason"])
    assert run.data.metrics["best_val_accuracy"] == row["value"]
