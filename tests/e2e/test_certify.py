"""`rnnexp certify`: the best configurations of a study, trained again on fresh seeds, until one is better."""

import json
import os
import signal
from pathlib import Path

import pytest

from tests.e2e.conftest import BackgroundCommand, Ran, one_line, rnnexp, sweep, tree
from tests.e2e.contents import open_client
from tests.json_shapes import check

pytestmark = pytest.mark.tensorflow

SWEEP = """
# Does a larger step help?
study: steps
sampler: {name: random, seed: 5}
budget: {trials: 3}
base:
  data: {name: reviews, train_samples: 600, maxlen: 40, vocab_size: 500}
  model: {cell: gru, units: 8, embedding_dim: 8}
  train: {epochs: 2, batch_size: 32}
try:
  - {train.learning_rate: 0.03, clip.kind: norm, clip.threshold: 1.0}
  - {train.learning_rate: 0.0000001, clip.kind: none}
  - {train.learning_rate: 0.02, clip.kind: none}
space:
  train.learning_rate: {choice: [0.0000001, 0.02, 0.03]}
  clip.kind: {choice: [none, norm]}
  clip.threshold: {float: [0.5, 2], when: {clip.kind: norm}}
"""
SEEDS = ("--seeds", "6")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return sweep(tmp_path_factory.mktemp("steps"), SWEEP)


@pytest.fixture(scope="module")
def certified(searched: Ran) -> Ran:
    """The study, with its two best configurations certified on six seeds after an interruption."""
    command = BackgroundCommand(["certify", "steps", "--top", "2", *SEEDS, "--home", str(searched.home)])
    command.read_until("trial 2 epoch 1/2")
    os.killpg(command.process.pid, signal.SIGINT)
    assert command.end() == 130
    assert any("run the same command to resume" in line for line in command.lines)
    output = searched("certify", "steps", "--top", "2", *SEEDS)
    assert "study steps-certify resumes" in output
    return Ran(searched.home, searched.file, output)


def test_each_configuration_is_trained_on_the_same_fresh_seeds(certified: Ran) -> None:
    rows = certified.json("trials", "steps-certify")
    assert [row["state"] for row in rows] == ["COMPLETE"] * 12
    seeds: dict[float, list[int]] = {}
    for row in rows:
        seeds.setdefault(row["settings"]["train.learning_rate"], []).append(row["settings"]["train.seed"])
    assert set(seeds) == {0.02, 0.03}
    assert sorted(seeds[0.02]) == sorted(seeds[0.03]) == [1, 2, 3, 4, 5, 6]
    thresholds = {row["settings"].get("clip.threshold") for row in rows}
    assert thresholds == {1.0, None}, "the condition still switches the threshold off"


def test_it_says_what_is_known_and_opens_the_test_part_once(certified: Ran) -> None:
    assert "6 seeds, each of which draws" in certified.output
    assert "cannot be told apart with 6 seeds" in certified.output or " beats " in certified.output
    assert "on the test part of reviews: accuracy 0." in certified.output
    assert "this home has used it 1 time\n" in certified.output
    openings = (certified.home / "test_openings.jsonl").read_text().splitlines()
    assert len(openings) == 1
    assert json.loads(openings[0])["study"] == "steps-certify"
    again = certified("certify", "steps", "--top", "2", *SEEDS)
    assert "this home has used it 1 time\n" in again, "the same models are not measured again"
    assert "started" not in again


def test_mlflow_has_the_certificate(certified: Ran) -> None:
    client = open_client(certified.home)
    experiment = client.get_experiment_by_name("steps-certify")
    (run,) = client.search_runs([experiment.experiment_id], filter_string="tags.`rnnexp.kind` = 'study'")
    assert run.data.metrics["n_seeds"] == 6
    assert 0 < run.data.metrics["test_accuracy"] < 1
    assert "certificate.json" in {item.path for item in client.list_artifacts(run.info.run_id)}


def test_a_certificate_that_mlflow_missed_is_sent_by_the_same_command(certified: Ran) -> None:
    client, command = open_client(certified.home), ("certify", "steps", "--top", "2", *SEEDS)
    version = client.get_model_version_by_alias("steps", "champion").version
    certified(*command)
    assert client.get_model_version_by_alias("steps", "champion").version == version, "it is not registered again"
    client.delete_registered_model_alias("steps", "champion")
    (certified.home / "work" / "steps-certify" / "certified").unlink()  # as after a command that MLflow did not answer
    certified(*command)
    assert client.get_model_version_by_alias("steps", "champion")


def test_a_certificate_of_an_earlier_version_does_not_open_the_test_part_again(certified: Ran) -> None:
    path = certified.home / "work" / "steps-certify" / "certificate.json"
    former = {key: value for key, value in json.loads(path.read_text()).items() if key != "study_id"}
    path.write_text(json.dumps(former | {"sentences": ["as another version says it"]}))
    again = certified("certify", "steps", "--top", "2", *SEEDS)
    assert "this home has used it 1 time\n" in again
    assert json.loads(path.read_text()).keys() == former.keys() | {"study_id"}


def test_another_comparison_is_refused_with_the_way_out(certified: Ran) -> None:
    done = rnnexp("certify", "steps", "--top", "3", *SEEDS, "--home", str(certified.home))
    one_line(done, "steps-certify compares other configurations", "rnnexp delete steps-certify")


def test_its_json_has_the_numbers(certified: Ran) -> None:
    found = certified.json("certify", "steps", "--top", "2", *SEEDS)
    check("certify", found)
    assert (found["study"], found["metric"], found["seeds"]) == ("steps", "val_accuracy", [1, 2, 3, 4, 5, 6])
    rows = certified.json("trials", "steps-certify")
    for configuration in found["configurations"]:
        rate = configuration["settings"]["train.learning_rate"]
        own = {
            row["settings"]["train.seed"]: row["value"]
            for row in rows
            if row["settings"].get("train.learning_rate") == rate
        }
        assert configuration["values"] == [own[seed] for seed in found["seeds"]]
        assert configuration["mean"] == pytest.approx(sum(own.values()) / 6)
    (comparison,) = found["comparisons"]
    means = [each["mean"] for each in found["configurations"]]
    assert comparison["difference"] == pytest.approx(abs(means[0] - means[1]))
    assert comparison["is_decided"] == found["is_decided"]
    assert found["test"]["n_models"] == 6
    assert found["test"]["low"] < found["test"]["accuracy"] < found["test"]["high"]


@pytest.mark.slow
def test_a_study_of_trials_that_learn_nothing_and_others_is_decided_and_more_seeds_can_follow(searched: Ran) -> None:
    """Three configurations, of which one cannot learn: six seeds suffice for no verdict among three, eight do."""
    root = searched.home.parent / "three"
    root.mkdir()
    three = sweep(root, SWEEP.replace("study: steps", "study: three"))
    first = three("certify", "three", *SEEDS)
    assert "cannot be told apart with 6 seeds" in first
    more = three("certify", "three", "--seeds", "8")
    assert "study three-certify resumes: 18 of 24 trials finished" in more
    assert "beats GRU(8) with train.learning_rate 1e-07" in more
    assert "this home has used it 2 times" in more, "other models were measured"
    rows = three.json("trials", "three-certify")
    assert len(rows) == 24


def test_wrong_input_is_refused_and_leaves_nothing(searched: Ran, tmp_path: Path) -> None:
    before = tree(searched.home)
    for arguments, words in (
        (["nothing"], ["nothing"]),
        (["steps", "--top", "4"], ["--top", "got 4", "expected 1 to 3"]),
        (["steps", "--top", "0"], ["--top", "got 0"]),
        (["steps", "--seeds", "5"], ["--seeds", "got 5", "at least 6"]),
        (["steps", "--metric", "f1"], ["--metric", "'f1'", "val_accuracy"]),
        (["steps-certify"], ["itself a certification"]),
    ):
        one_line(rnnexp("certify", *arguments, "--home", str(searched.home)), *words)
    assert tree(searched.home) == before
    one_line(rnnexp("certify", "steps", "--home", str(tmp_path / "new")), "steps")
    assert not (tmp_path / "new").exists()


def test_a_study_that_runs_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(SWEEP.replace("epochs: 2", "epochs: 500"))
    home = tmp_path / "home"
    running = BackgroundCommand(["sweep", str(file), "--home", str(home)])
    running.read_until("epoch 1/")
    one_line(rnnexp("certify", "steps", "--home", str(home)), "still runs", "process")
    os.killpg(running.process.pid, signal.SIGKILL)
    running.end()
    one_line(rnnexp("certify", "steps", "--home", str(home)), "no complete trial")
