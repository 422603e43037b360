"""`rnnexp train`: one configuration, trained as a study of one trial."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import BackgroundCommand, Ran, one_line, rnnexp, tree
from tests.e2e.contents import check_run, check_study, open_client

pytestmark = pytest.mark.tensorflow

TRIAL = """
data: {name: reviews, train_samples: 600, maxlen: 60}
model: {cell: gru, units: 8, embedding_dim: 8}
train: {epochs: 2, batch_size: 64, learning_rate: 0.01}
"""


def write(root: Path, text: str = TRIAL) -> tuple[list[str], Path]:
    """Writes the configuration; returns the command that trains it, and its home."""
    file, home = root / "trial.yaml", root / "home"
    file.write_text(text)
    return ["train", str(file), "--home", str(home)], home


def the_study(home: Path) -> dict[str, Any]:
    """Returns the only study of a home, as `studies --json` lists it."""
    (study,) = json.loads(rnnexp("studies", "--json", "--home", str(home)).stdout)
    assert study["study"].startswith("train-")
    assert len(study["study"]) == len("train-") + 8
    return dict(study)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A home in which one configuration has been trained."""
    root = tmp_path_factory.mktemp("train")
    command, home = write(root)
    done = rnnexp(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return Ran(home, root / "trial.yaml", done.stdout)


def test_it_prints_the_epochs_the_result_and_the_next_commands(trained: Ran) -> None:
    name = the_study(trained.home)["study"]
    (row,) = trained.json("trials", name)
    assert f"study {name} starts: 0 of 1 trials finished; data reviews" in trained.output
    assert "trial 0 epoch 1/2: loss" in trained.output
    assert "trial 0 epoch 2/2: loss" in trained.output
    (result,) = [line for line in trained.output.splitlines() if line.startswith(f"study {name}: ")]
    assert f"val_accuracy {row['value']:.4f} at epoch {row['best_epoch']}" in result
    assert f"MLflow run {row['run_id']}\n" in trained.output
    assert result.endswith(f"files in {trained.home / 'work' / name / 'trials' / '00000'}")
    for command in (f"export {name} --to", "evaluate best", "predict best ", "ui --home"):
        assert f"  python -m rnnexp {command}" in trained.output


def test_it_is_a_study_like_any_other(trained: Ran) -> None:
    study = the_study(trained.home)
    assert (study["n_trials"], study["states"]["COMPLETE"], study["metric"]) == (1, 1, "val_accuracy")
    assert study["study"] in trained("studies")
    assert "COMPLETE" in trained("trials", study["study"])
    (row,) = trained.json("trials", study["study"])
    assert row["settings"] == {}
    assert "epoch 1: loss" in trained("logs", study["study"], "0")
    client = open_client(trained.home)
    check_run(client, study["study"], row, kept=True)
    check_study(client, study["study"], row)
    sweep_file = trained.home / "work" / study["study"] / "sweep.yaml"
    assert "searches nothing" in rnnexp("validate", str(sweep_file)).stdout


def test_its_model_is_exported_and_evaluated(trained: Ran, tmp_path: Path) -> None:
    name, bundle = the_study(trained.home)["study"], tmp_path / "best"
    trained("export", name, "--to", str(bundle))
    (row,) = trained.json("trials", name)
    measured = trained.json("evaluate", str(bundle), "--split", "validation")
    assert measured["accuracy"] == pytest.approx(row["value"], abs=1e-9)


def test_the_same_command_again_shows_the_result_and_how_to_train_again(trained: Ran) -> None:
    name = the_study(trained.home)["study"]
    before = trained.json("trials", name)
    again = trained("train", str(trained.file))
    assert "trial 0 started" not in again
    assert f"study {name}: val_accuracy {before[0]['value']:.4f}" in again
    assert "--set train.seed=1" in again
    assert trained.json("trials", name) == before


def test_another_seed_is_another_study(trained: Ran) -> None:
    name = the_study(trained.home)["study"]
    trained("train", str(trained.file), "--set", "train.seed=1")
    names = {study["study"] for study in trained.json("studies")}
    assert len(names) == 2
    (other,) = names - {name}
    trained("delete", other, "--yes")
    assert the_study(trained.home)["study"] == name


def test_the_objective_is_the_monitor(tmp_path: Path) -> None:
    command, home = write(tmp_path, TRIAL.replace("epochs: 2", "epochs: 1"))
    done = rnnexp(*command, "--set", "train.monitor=val_loss")
    assert done.returncode == 0, done.stdout + done.stderr
    study = the_study(home)
    assert (study["metric"], study["direction"]) == ("val_loss", "minimize")
    (row,) = json.loads(rnnexp("trials", study["study"], "--json", "--home", str(home)).stdout)
    assert row["value"] == row["metrics"]["val_loss"]
    assert f"val_loss {row['value']:.4f} at epoch 1" in done.stdout


def test_an_interrupted_training_is_resumed_by_the_same_command(tmp_path: Path) -> None:
    command, home = write(tmp_path, TRIAL.replace("epochs: 2", "epochs: 12"))
    running = BackgroundCommand(command)
    running.read_until("epoch 2/12")
    os.killpg(running.process.pid, signal.SIGINT)
    assert running.end() == 130, "".join(running.lines)
    assert "0 of 1 trials finished; run the same command to resume" in "".join(running.lines)
    name = the_study(home)["study"]
    (before,) = json.loads(rnnexp("trials", name, "--json", "--home", str(home)).stdout)
    assert before["state"] == "WAITING"
    client = open_client(home)
    assert client.get_run(before["run_id"]).info.status == "KILLED"

    done = rnnexp(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"study {name} resumes: 0 of 1 trials finished" in done.stdout
    assert "epoch 1/12" not in done.stdout
    assert "trained already" not in done.stdout
    (after,) = json.loads(rnnexp("trials", name, "--json", "--home", str(home)).stdout)
    assert (after["state"], after["attempts"], after["run_id"]) == ("COMPLETE", 2, before["run_id"])
    assert client.get_run(after["run_id"]).info.status == "FINISHED"
    steps = [point.step for point in client.get_metric_history(after["run_id"], "val_loss")]
    assert steps == list(range(1, 13))


def test_a_training_that_diverges_in_its_first_epoch_gives_exit_code_1(tmp_path: Path) -> None:
    command, home = write(tmp_path, TRIAL.replace("learning_rate: 0.01", "learning_rate: 1.0e+38, optimizer: sgd"))
    for attempt in ("first", "again"):
        done = rnnexp(*command)
        assert done.returncode == 1, attempt + done.stdout + done.stderr
        name = the_study(home)["study"]
        (row,) = json.loads(rnnexp("trials", name, "--json", "--home", str(home)).stdout)
        assert (row["state"], row["attempts"], row["value"]) == ("PRUNED", 1, None)
        assert row["reason"].startswith("diverged at epoch 1: loss is nan")
        assert f"study {name}: no trial finished; {row['reason']}" in done.stdout
        assert f"rnnexp logs {name} 0" in done.stdout
        assert f"rnnexp delete {name}" in done.stdout


def test_wrong_settings_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    command, home = write(tmp_path, TRIAL.replace("units: 8", "unit: 8"))
    one_line(rnnexp(*command), "trial.yaml", "model.unit: unknown setting", "model.units?")
    one_line(rnnexp("train", str(tmp_path / "none.yaml"), "--home", str(home)), "none.yaml: no such file")
    assert tree(tmp_path) == ["trial.yaml"]
