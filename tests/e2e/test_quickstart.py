"""The README's first sweep, on IMDB."""

import json
import os
import statistics
from pathlib import Path

import pytest

from tests.e2e.conftest import rnnexp
from tests.e2e.contents import check_runs, check_study, open_client

TOP = Path(__file__).resolve().parent.parent.parent

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.imdb,
    pytest.mark.skipif(not os.environ.get("RNNEXP_DATA"), reason="RNNEXP_DATA names no folder with the IMDB set"),
]


def test_the_quickstart_sweep(tmp_path: Path) -> None:
    home = ("--home", str(tmp_path / "home"))
    done = rnnexp("sweep", str(TOP / "sweeps" / "quickstart.yaml"), *home)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(rnnexp("trials", "quickstart", "--json", *home).stdout)
    assert [row["state"] for row in rows] == ["COMPLETE"] * 12
    client = open_client(tmp_path / "home")
    ranked = check_runs(client, "quickstart", rows, keep=5)
    check_study(client, "quickstart", ranked[0])
    assert client.get_run(rows[0]["run_id"]).data.params["data.name"] == "imdb"
    assert ranked[0]["value"] > 0.83, "an LSTM or GRU is better than that"
    plain, gated = [], []
    for row in rows:
        (plain if row["settings"]["model.cell"] == "simple_rnn" else gated).append(row["value"])
    assert (len(plain), len(gated)) == (4, 8)
    assert statistics.fmean(gated) > statistics.fmean(plain)
