"""The shipped studies on IMDB: minutes each, run by `make test-slow`."""

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import rnnexp
from tests.e2e.contents import open_client

SWEEPS = Path(__file__).resolve().parent.parent.parent / "sweeps"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.tensorflow,
    pytest.mark.imdb,
    pytest.mark.skipif(not os.environ.get("RNNEXP_DATA"), reason="RNNEXP_DATA names no folder with the IMDB set"),
]

SENTENCES = {
    "This movie is really bad . I do not like this movie because the direction was horrible .": "negative",
    "An absolute waste of two hours, dull and predictable.": "negative",
    "I loved every minute of this wonderful film.": "positive",
    "One of the best performances of the decade, moving and funny.": "positive",
    "The plot is thin but the acting is superb and I would happily watch it again.": "positive",
}

LSTM = """
study: lstm-seeds
sampler: {name: grid}
base:
  data: {name: imdb, maxlen: 400}
  model: {cell: lstm, units: 64, embedding_dim: 64}
  train: {optimizer: rmsprop, epochs: 3}
space:
  train.seed: {choice: [1, 2, 3]}
"""


def trials(study: str, home: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(rnnexp("trials", study, "--json", "--home", str(home)).stdout)
    return found


def run(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "rnnexp", *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_notebook_sweep(tmp_path: Path) -> None:
    run(["sweep", str(SWEEPS / "notebook.yaml"), "--home", str(tmp_path)])
    rows = trials("notebook", tmp_path)
    assert len(rows) == 5
    assert statistics.median(row["value"] for row in rows) >= 0.78
    for row in rows:
        assert row["best_epoch"] <= 10
        shown = json.loads(rnnexp("show", "notebook", str(row["number"]), "--json", "--home", str(tmp_path)).stdout)
        losses = [epoch["val_loss"] for epoch in shown["curve"]]
        assert row["best_epoch"] == losses.index(min(losses)) + 1, "the validation loss names the best epoch"


def test_an_lstm_of_64_units_in_three_epochs(tmp_path: Path) -> None:
    (tmp_path / "lstm.yaml").write_text(LSTM)
    run(["sweep", str(tmp_path / "lstm.yaml"), "--home", str(tmp_path / "home")])
    rows = trials("lstm-seeds", tmp_path / "home")
    assert statistics.median(row["value"] for row in rows) >= 0.86


def test_a_search_is_interrupted_resumed_and_exported(tmp_path: Path) -> None:
    home = tmp_path / "home"
    command = ["sweep", str(SWEEPS / "imdb.yaml"), "--trials", "12", "--set", "train.epochs=3", "--workers", "2"]
    command += ["--home", str(home)]
    first = subprocess.Popen(
        [sys.executable, "-m", "rnnexp", *command], stdout=subprocess.DEVNULL, start_new_session=True
    )
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        time.sleep(2)
        done = rnnexp("trials", "imdb", "--json", "--home", str(home))
        if done.returncode == 0 and sum(row["state"] in ("COMPLETE", "PRUNED") for row in json.loads(done.stdout)) >= 3:
            break
    os.killpg(first.pid, signal.SIGINT)
    assert first.wait(60) == 130

    run(command)
    rows = trials("imdb", home)
    assert len(rows) == 12
    assert {row["state"] for row in rows} <= {"COMPLETE", "PRUNED"}
    assert any(row["attempts"] == 2 for row in rows)
    client = open_client(home)
    runs = client.search_runs([client.get_experiment_by_name("imdb").experiment_id])
    assert {one.info.status for one in runs} == {"FINISHED"}
    assert len(runs) == 13

    run(["export", "imdb", "--to", str(tmp_path / "best"), "--home", str(home)])
    found = json.loads(rnnexp("predict", str(tmp_path / "best"), "--json", *SENTENCES).stdout)
    for one in found:
        assert one["label"] == SENTENCES[one["text"]], one
        assert one["probability"] >= 0.6, one
