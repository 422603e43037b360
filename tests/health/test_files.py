"""Token stores, checkpoints, models, MLflow's copies: cut short, altered, gone."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rnnexp.data.store import is_valid
from rnnexp.trial import events
from rnnexp.trial.events import Evicted
from tests.e2e.conftest import rnnexp
from tests.health.conftest import STUDY, Patient, cut, flip, waits

pytestmark = pytest.mark.tensorflow

DAMAGES = [cut, flip, Path.unlink]


def test_a_healthy_home_is_left_alone(patient: Patient, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in patient.root.rglob("*") if path.is_file() and ".db" not in path.name}
    assert patient.findings() == []
    assert patient.doctor() == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == "no problems found"
    assert patient.doctor("--repair") == 0
    after = {path: path.read_bytes() for path in patient.root.rglob("*") if path.is_file() and ".db" not in path.name}
    assert after == before


@pytest.mark.parametrize(("damage", "name"), [(cut, "tokens.npy"), (flip, "labels.npy"), (Path.unlink, "meta.json")])
def test_a_damaged_store_is_removed(patient: Patient, damage: Callable[[Path], None], name: str) -> None:
    (root,) = (path for path in patient.home.cache.iterdir() if path.is_dir())
    assert is_valid(root)
    damage(root / name)
    found = patient.named("cache", root.name)
    assert found.frees_bytes > 0
    patient.repair()
    assert not root.exists()


def test_a_store_in_the_making_is_no_fault(patient: Patient) -> None:
    (patient.home.cache / ".reviews-abc-xyz").mkdir()
    (patient.home.cache / "reviews-abc.lock").touch()
    assert patient.findings() == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_is_put_back_from_mlflows_copy(patient: Patient, damage: Callable[[Path], None]) -> None:
    best = patient.trial(1).best
    whole = best.read_bytes()
    damage(best)
    patient.named("checkpoints", "small trial 1", "best.keras")
    assert patient.repair() == ["put back from MLflow's copy"]
    assert best.read_bytes() == whole


def test_a_model_without_a_whole_copy_is_recorded_as_not_kept(patient: Patient) -> None:
    cut(patient.trial(1).best)
    cut(patient.copy_of_best(1))
    patient.named("checkpoints", "small trial 1", "MLflow has no whole copy")
    patient.repair()
    assert not patient.trial(1).best.exists()
    assert isinstance(events.read(patient.trial(1).events)[-1], Evicted)
    assert patient.mlflow().get_run(patient.run_id(1)).data.tags["rnnexp.checkpoint"] == "evicted"
    refused = rnnexp("export", STUDY, "--trial", "1", "--to", str(patient.root / "out"), "--home", str(patient.root))
    assert refused.returncode == 2
    assert "its checkpoint is not kept" in refused.stderr


@pytest.mark.parametrize("damage", [cut, Path.unlink])
def test_mlflows_copy_is_sent_again(patient: Patient, damage: Callable[[Path], None]) -> None:
    copy = patient.copy_of_best(1)
    damage(copy)
    patient.named("runs", "small trial 1", "MLflow's copy of best.keras")
    patient.repair()
    assert copy.read_bytes() == patient.trial(1).best.read_bytes()


def test_held_out_probabilities_are_worked_out_again(patient: Patient) -> None:
    held_out = patient.trial(1).held_out
    with np.load(held_out) as arrays:
        rows, probabilities = arrays["rows"], arrays["probabilities"]
    flip(held_out)
    patient.named("checkpoints", "small trial 1", "held_out.npz")
    assert any("worked out again" in line for line in patient.repair())
    with np.load(held_out) as arrays:
        assert np.array_equal(arrays["rows"], rows)
        assert np.abs(arrays["probabilities"] - probabilities).max() < 1e-6


def test_a_model_of_another_epoch_is_not_taken_for_the_best(patient: Patient) -> None:
    shutil.copyfile(patient.trial(0).best, patient.trial(1).best)
    shutil.copyfile(patient.trial(0).config, patient.trial(1).config)
    patient.trial(1).held_out.unlink()
    assert any("not the best epoch's" in line for line in patient.repair())
    assert not patient.trial(1).best.exists()


@pytest.mark.parametrize("damage", [cut, flip])
def test_a_damaged_checkpoint_of_a_waiting_trial_is_removed(patient: Patient, damage: Callable[[Path], None]) -> None:
    waits(patient, 2)
    patient.named("small trial 2", "nobody runs it").fix()  # type: ignore[misc]
    damage(patient.trial(2).state)
    patient.named("checkpoints", "small trial 2", "state.npz")
    patient.repair()
    assert not patient.trial(2).state.exists()


def test_what_a_killed_process_left_is_removed(patient: Patient) -> None:
    half = patient.trial(1).root / "writing-state.npz"
    half.write_bytes(b"x" * 1000)
    shutil.copyfile(patient.trial(1).held_out, patient.trial(1).state)
    assert patient.named("leftovers", "had not finished").frees_bytes == 1000
    patient.named("leftovers", "small trial 1", "only a running trial needs")
    patient.repair()
    assert not half.exists()
    assert not patient.trial(1).state.exists()
