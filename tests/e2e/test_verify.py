"""`rnnexp verify`: a trial trained again from its record gives the same bits, or the command says what differs."""

import json
import shutil
from pathlib import Path

import pytest

from rnnexp.home import Home
from tests.e2e.conftest import Ran, one_line, rnnexp, tree

pytestmark = pytest.mark.tensorflow


@pytest.fixture
def copied(ran: Ran, tmp_path: Path) -> Path:
    """A home whose files a test may change."""
    shutil.copytree(ran.home, tmp_path / "home")
    return tmp_path / "home"


def test_a_trial_is_reproduced_and_leaves_nothing(ran: Ran) -> None:
    before = tree(ran.home)
    output = ran("verify", "small", "2")
    assert "trial 2 of small: reproduced; all metrics of 2 epochs are equal to the bit" in output
    assert "epoch 2/2: loss" in output
    assert tree(ran.home) == before


def test_an_altered_setting_is_the_cause(copied: Path) -> None:
    config = Home.at(copied).study("small").trial(0).config
    config.write_text(config.read_text().replace("learning_rate: 0.01", "learning_rate: 0.02"))
    done = rnnexp("verify", "small", "0", "--home", str(copied))
    assert done.returncode == 1, done.stderr
    assert "trial 0 of small: diverged; epoch 1 is the first that differs; val_accuracy was 0." in done.stdout
    assert "  train.learning_rate: the study gave 0.01, the trial's record has 0.02\n" in done.stdout
    found = json.loads(rnnexp("verify", "small", "0", "--json", "--home", str(copied)).stdout)
    assert (found["verdict"], found["first_difference"]) == ("diverged", 1)


def test_another_type_of_machine_may_differ_within_noise(copied: Path) -> None:
    """The record of one epoch is changed in its last digits, as another processor would have."""
    path = Home.at(copied).study("small").trial(1).events
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if line.get("epoch") == 2:
            line["metrics"]["val_loss"] += 1e-6
        if "plan" in line:
            line["plan"]["processor"] = "Another CPU"
            line["plan"]["tensorflow"] = "2.1.0"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = rnnexp("verify", "small", "1", "--home", str(copied))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "trial 1 of small: within noise; epoch 2 is the first that differs" in done.stdout
    assert "two standard errors of an accuracy on 4,166 validation texts" in done.stdout
    assert "processor Another CPU, now " in done.stdout
    assert "TensorFlow 2.1.0, now " in done.stdout


def test_what_cannot_be_verified_is_refused(ran: Ran) -> None:
    one_line(rnnexp("verify", "small", "9", "--home", str(ran.home)), "no trial 9")
    one_line(rnnexp("verify", "nothing", "0", "--home", str(ran.home)), "nothing")
