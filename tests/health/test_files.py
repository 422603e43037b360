"""Token stores, checkpoints, models and MLflow's copies that are truncated, altered or deleted."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rnnexp.data.store import is_valid
from rnnexp.trial import events
from rnnexp.trial.events import Evicted
from tests.e2e.conftest import rnnexp
from tests.health.conftest import STUDY, HomeCopy, flip_byte, make_waiting, truncate

pytestmark = pytest.mark.tensorflow

DAMAGES = [truncate, flip_byte, Path.unlink]


def test_an_intact_home_is_not_changed(home_copy: HomeCopy, capsys: pytest.CaptureFixture[str]) -> None:
    before = {
        path: path.read_bytes() for path in home_copy.root.rglob("*") if path.is_file() and ".db" not in path.name
    }
    assert home_copy.findings() == []
    assert home_copy.doctor() == 0
    output = capsys.readouterr().out.splitlines()
    assert output[-1] == "no problems found"
    assert home_copy.doctor("--repair") == 0
    after = {path: path.read_bytes() for path in home_copy.root.rglob("*") if path.is_file() and ".db" not in path.name}
    assert after == before


@pytest.mark.parametrize(
    ("damage", "name"), [(truncate, "tokens.npy"), (flip_byte, "labels.npy"), (Path.unlink, "meta.json")]
)
def test_a_damaged_store_is_removed(home_copy: HomeCopy, damage: Callable[[Path], None], name: str) -> None:
    (root,) = (path for path in home_copy.home.cache.iterdir() if path.is_dir())
    assert is_valid(root)
    damage(root / name)
    found = home_copy.find_one("cache", root.name)
    assert found.frees_bytes > 0
    home_copy.repair()
    assert not root.exists()


def test_an_incomplete_store_of_a_running_process_is_not_a_finding(home_copy: HomeCopy) -> None:
    (home_copy.home.cache / ".reviews-abc-xyz").mkdir()
    (home_copy.home.cache / "reviews-abc.lock").touch()
    assert home_copy.findings() == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_is_restored_from_mlflows_copy(home_copy: HomeCopy, damage: Callable[[Path], None]) -> None:
    best = home_copy.trial(1).best
    original = best.read_bytes()
    damage(best)
    home_copy.find_one("checkpoints", "small trial 1", "best.keras")
    assert home_copy.repair() == ["restored from MLflow's copy"]
    assert best.read_bytes() == original


def test_a_model_without_an_intact_copy_is_recorded_as_not_kept(home_copy: HomeCopy) -> None:
    truncate(home_copy.trial(1).best)
    truncate(home_copy.mlflow_copy_of_best(1))
    home_copy.find_one("checkpoints", "small trial 1", "MLflow has no intact copy")
    home_copy.repair()
    assert not home_copy.trial(1).best.exists()
    assert isinstance(events.read(home_copy.trial(1).events)[-1], Evicted)
    assert home_copy.client().get_run(home_copy.run_id(1)).data.tags["rnnexp.checkpoint"] == "evicted"
    refused = rnnexp(
        "export", STUDY, "--trial", "1", "--to", str(home_copy.root / "out"), "--home", str(home_copy.root)
    )
    assert refused.returncode == 2
    assert "its checkpoint is not kept" in refused.stderr


@pytest.mark.parametrize("damage", [truncate, Path.unlink])
def test_mlflows_copy_is_sent_again(home_copy: HomeCopy, damage: Callable[[Path], None]) -> None:
    copy = home_copy.mlflow_copy_of_best(1)
    damage(copy)
    home_copy.find_one("runs", "small trial 1", "MLflow's copy of best.keras")
    home_copy.repair()
    assert copy.read_bytes() == home_copy.trial(1).best.read_bytes()


def test_held_out_probabilities_are_computed_again(home_copy: HomeCopy) -> None:
    held_out = home_copy.trial(1).held_out
    with np.load(held_out) as arrays:
        rows, probabilities = arrays["rows"], arrays["probabilities"]
    flip_byte(held_out)
    home_copy.find_one("checkpoints", "small trial 1", "held_out.npz")
    assert any("computed again" in line for line in home_copy.repair())
    with np.load(held_out) as arrays:
        assert np.array_equal(arrays["rows"], rows)
        assert np.abs(arrays["probabilities"] - probabilities).max() < 1e-6


def test_a_model_of_another_epoch_is_not_kept(home_copy: HomeCopy) -> None:
    shutil.copyfile(home_copy.trial(0).best, home_copy.trial(1).best)
    shutil.copyfile(home_copy.trial(0).config, home_copy.trial(1).config)
    home_copy.trial(1).held_out.unlink()
    assert any("not the one of the best epoch" in line for line in home_copy.repair())
    assert not home_copy.trial(1).best.exists()


@pytest.mark.parametrize("damage", [truncate, flip_byte])
def test_a_damaged_checkpoint_of_a_waiting_trial_is_removed(
    home_copy: HomeCopy, damage: Callable[[Path], None]
) -> None:
    make_waiting(home_copy, 2)
    home_copy.find_one("small trial 2", "no supervisor runs it").fix()  # type: ignore[misc]
    damage(home_copy.trial(2).state)
    home_copy.find_one("checkpoints", "small trial 2", "state.npz")
    home_copy.repair()
    assert not home_copy.trial(2).state.exists()


def test_files_of_a_killed_process_are_removed(home_copy: HomeCopy) -> None:
    incomplete = home_copy.trial(1).root / "writing-state.npz"
    incomplete.write_bytes(b"x" * 1000)
    shutil.copyfile(home_copy.trial(1).held_out, home_copy.trial(1).state)
    assert home_copy.find_one("leftovers", "incomplete file").frees_bytes == 1000
    home_copy.find_one("leftovers", "small trial 1", "only a running trial needs")
    home_copy.repair()
    assert not incomplete.exists()
    assert not home_copy.trial(1).state.exists()
