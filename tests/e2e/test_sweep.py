"""A sweep, and the commands that read its study."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rnnexp.home import TrialFolder
from tests.drill.check import load_weights
from tests.e2e.conftest import SWEEP, Ran, rnnexp, sweep
from tests.e2e.contents import check_run, check_runs, check_study, open_client
from tests.report.pages import content

pytestmark = pytest.mark.tensorflow

ROW = {
    *("number", "state", "value", "best_epoch", "settings", "metrics"),
    *("duration_s", "attempts", "run_id", "reason"),
}


def test_it_prints_the_trials_the_best_one_and_the_next_commands(ran: Ran) -> None:
    assert "study small starts: 0 of 3 trials finished; data reviews" in ran.output
    for number in range(3):
        assert f"trial {number} COMPLETE val_accuracy" in ran.output
    best = max(ran.json("trials", "small"), key=lambda row: (row["value"], -row["number"]))
    assert f"best: trial {best['number']}, val_accuracy {best['value']:.4f} at epoch {best['best_epoch']}" in ran.output
    for verb in ("compare", "export", "predict", "ui"):
        assert f"python -m rnnexp {verb}" in ran.output


def test_trials_as_json(ran: Ran) -> None:
    rows = ran.json("trials", "small")
    assert [row["number"] for row in rows] == [0, 1, 2]
    for row in rows:
        assert set(row) == ROW
        assert row["state"] == "COMPLETE"
        assert row["metrics"]["val_accuracy"] == row["value"]
        assert set(row["settings"]) == {"model.cell", "model.units"}
    assert rows[0]["settings"] == {"model.cell": "gru", "model.units": 12}


def test_every_run_in_mlflow_is_complete(ran: Ran) -> None:
    client, rows = open_client(ran.home), ran.json("trials", "small")
    ranked = check_runs(client, "small", rows, keep=1)
    check_study(client, "small", ranked[0])


def test_the_logged_model_accepts_raw_text(ran: Ran) -> None:
    code = (
        "import mlflow, json, sys\n"
        f"mlflow.set_tracking_uri('sqlite:///{ran.home / 'mlflow.db'}')\n"
        "model = mlflow.pyfunc.load_model('models:/small@best')\n"
        "found = model.predict(['the plot was superb .', 'the cast was dull .'])\n"
        "print(json.dumps([[one.label, one.probability] for one in found]))"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert {label for label, _ in found} <= {"negative", "positive"}
    assert all(0.5 <= probability <= 1 for _, probability in found)


def test_the_same_command_on_a_finished_study_changes_nothing(ran: Ran) -> None:
    before, recorded = ran.json("trials", "small"), _study_run(ran)
    again = ran("sweep", str(ran.file))
    assert "started" not in again
    assert "best: trial" in again
    assert ran.json("trials", "small") == before
    assert _study_run(ran) == recorded, "what MLflow has is not written again"


def _study_run(ran: Ran) -> Any:
    client = open_client(ran.home)
    experiment = client.get_experiment_by_name("small").experiment_id
    (run,) = client.search_runs([experiment], filter_string="tags.`rnnexp.kind` = 'study'")
    return run.to_dictionary()


def test_the_same_command_sends_records_that_mlflow_lacks(ran: Ran) -> None:
    """An outage left a record incomplete. The study is finished, and the same command still completes the record."""
    row = ran.json("trials", "small")[1]
    client = open_client(ran.home)
    cursor = ran.home / "work" / "small" / "trials" / "00001" / "mlflow.json"
    cursor.write_text(json.dumps({"run_id": None, "sent": 0}))
    client.set_tag(row["run_id"], "rnnexp.state", "RUNNING")
    client.update_run(row["run_id"], status="RUNNING")
    ran("sweep", str(ran.file))
    assert ran.json("trials", "small")[1] == row, "the run is found by its tags, not created again"
    ranked = check_runs(client, "small", ran.json("trials", "small"), keep=1)
    check_study(client, "small", ranked[0])


def test_studies_lists_the_study(ran: Ran) -> None:
    assert "small" in ran("studies")
    (study,) = ran.json("studies")
    assert (study["study"], study["n_trials"], study["states"]["COMPLETE"]) == ("small", 3, 3)
    assert study["running"] is False


def test_show_gives_a_file_that_trains_to_the_same_result(ran: Ran, tmp_path: Path) -> None:
    """Every metric of every epoch and every weight, bit for bit: the accuracy of a few texts hides a difference."""
    row = max(ran.json("trials", "small"), key=lambda row: (row["value"], -row["number"]))  # its model is kept
    number = str(row["number"])
    shown = ran.json("show", "small", number)
    assert {name: shown["config"][name] for name in row["settings"]} == row["settings"]
    assert [epoch["epoch"] for epoch in shown["curve"]] == [1, 2]
    file, home = tmp_path / "trial.yaml", tmp_path / "home"
    file.write_text(ran("show", "small", number, "--yaml"))
    done = rnnexp("train", str(file), "--home", str(home))
    assert done.returncode == 0, done.stderr
    assert f"val_accuracy {row['value']:.4f} at epoch {row['best_epoch']}" in done.stdout
    (study,) = json.loads(rnnexp("studies", "--json", "--home", str(home)).stdout)
    (trained,) = json.loads(rnnexp("trials", study["study"], "--json", "--home", str(home)).stdout)
    again = json.loads(rnnexp("show", study["study"], "0", "--json", "--home", str(home)).stdout)
    assert _without_times(again["curve"]) == _without_times(shown["curve"])
    assert again["metrics"] == shown["metrics"]
    weights, others = (load_weights(TrialFolder(Path(one["folder"])).best) for one in (shown, again))
    assert weights.keys() == others.keys()
    for name, values in weights.items():
        assert values.tobytes() == others[name].tobytes(), name
    run = open_client(home).get_run(trained["run_id"])
    assert run.data.metrics["best_val_accuracy"] == row["value"]


def _without_times(curve: list[dict[str, float]]) -> list[dict[str, float]]:
    assert all({"loss", "val_loss", "accuracy", "val_accuracy"} <= set(epoch) for epoch in curve)
    return [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in curve]


def test_compare_prints_and_writes_the_ranking(ran: Ran, tmp_path: Path) -> None:
    printed = ran("compare", "small", "--csv", str(tmp_path / "t.csv"), "--html", str(tmp_path / "r.html"))
    assert "small: 3 of 3 trials" in printed
    lines = (tmp_path / "t.csv").read_text().splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("study,trial,state,value,best_epoch")
    page = content(tmp_path / "r.html")
    assert [len(trial["curve"]["val_accuracy"]) for trial in page["trials"]] == [2, 2, 2]
    assert page["answer"][0].startswith("Trial ")
    assert page["trust"]["n_train"] == [600]
    compared = ran.json("compare", "small")
    values = [row["value"] for row in compared["studies"][0]["trials"]]
    assert values == sorted(values, reverse=True)


def test_logs_prints_the_log(ran: Ran) -> None:
    log = ran("logs", "small", "1", "-f")
    assert "epoch 1: loss" in log
    assert "finished by epochs" in log


def test_a_dry_run_shows_the_forecast_and_runs_nothing(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SWEEP)
    done = rnnexp("sweep", str(tmp_path / "s.yaml"), "--dry-run", "--home", str(tmp_path / "home"))
    assert done.returncode == 0, done.stderr
    assert "3 of 3 trials to run" in done.stdout
    assert not (tmp_path / "home" / "optuna.db").exists()


def test_studies_on_different_rows_cannot_be_ranked_together(ran: Ran, tmp_path: Path) -> None:
    text = SWEEP.replace("study: small", "study: other").replace("train_samples: 600", "train_samples: 600, seed: 9")
    (tmp_path / "s.yaml").write_text(text)
    ran("sweep", str(tmp_path / "s.yaml"), "--trials", "1")
    compared = ran.json("compare", "small", "other")
    assert compared["comparable"] is False
    assert any("data" in reason for reason in compared["reasons"])
    page = tmp_path / "both.html"
    refused = rnnexp("compare", "small", "other", "--html", str(page), "--home", str(ran.home))
    assert refused.returncode == 2
    assert "cannot be ranked together" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert not page.exists()
    ran("delete", "other", "--yes")
    assert [study["study"] for study in ran.json("studies")] == ["small"]
    assert not (ran.home / "work" / "other").exists()
    assert not (ran.home / "artifacts" / "other").exists()


def test_a_deleted_study_can_be_started_again(tmp_path: Path) -> None:
    first = sweep(tmp_path, SWEEP, "--trials", "1")
    refused = rnnexp("delete", "small", "--home", str(first.home))
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    first("delete", "small", "--yes")
    second = sweep(tmp_path, SWEEP, "--trials", "1")
    (row,) = second.json("trials", "small")
    check_run(open_client(second.home), "small", row, kept=True)


def test_a_sweep_ends_when_its_search_space_is_used_up(tmp_path: Path) -> None:
    """The longest trials start first, an entry that repeats another is left out, and no trial runs twice."""
    text = SWEEP.replace("{int: [4, 16]}", "{choice: [4, 12]}").replace("[simple_rnn, gru]", "[gru]")
    first = "try: [{model.units: 4}, {model.units: 12}, {model.units: 4}]"
    text = text.replace("try: [{model.cell: gru, model.units: 12}]", first)
    small = sweep(tmp_path, text)
    assert "try.2: the same settings as an earlier entry of try; left out" in small.output
    assert (
        "the search space has no further settings: each combination has a trial; 2 of 3 trials finished" in small.output
    )
    assert [row["settings"]["model.units"] for row in small.json("trials", "small")] == [12, 4]
    again = small("sweep", str(small.file))
    assert "the search space has no further settings" in again
    assert "best: trial" in again


def test_a_csv_file_with_three_classes(tmp_path: Path) -> None:
    rows = ["body,stars"]
    for index in range(240):
        word, label = [("bad", "1"), ("fair", "3"), ("great", "5")][index % 3]
        rows.append(f'"item {index % 7}, it was a {word} thing",{label}')
    (tmp_path / "mine.csv").write_text("\n".join(rows))
    text = (
        SWEEP.replace("study: small", "study: stars").replace(
            "{name: reviews, train_samples: 600, maxlen: 60}",
            f"{{path: {tmp_path / 'mine.csv'}, text: body, label: stars, maxlen: 20, vocab_size: 100}}",
        )
    ).replace("epochs: 2", "epochs: 12")
    mine = sweep(tmp_path, text, "--trials", "2")
    assert "data mine" in mine.output
    assert "stars: 2 of 2 trials" in mine("compare", "stars")
    mine("export", "stars", "--to", str(tmp_path / "bundle"))
    done = rnnexp("predict", str(tmp_path / "bundle"), "--json", "a GREAT thing!", "a bad thing", "a fair thing")
    found = json.loads(done.stdout)
    assert [one["label"] for one in found] == ["5", "1", "3"]
    for one in found:
        assert set(one) == {"text", "label", "probability", "probabilities"}
        assert set(one["probabilities"]) == {"1", "3", "5"}
        assert one["probability"] == max(one["probabilities"].values())
        assert sum(one["probabilities"].values()) == pytest.approx(1, abs=1e-5)
