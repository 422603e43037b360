"""Token stores, checkpoints, models and MLflow's copies that are truncated, altered or deleted."""

import io
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rnnexp import locks
from rnnexp.data.store import is_valid
from rnnexp.health import checks
from rnnexp.trial import events
from rnnexp.trial.events import Evicted
from tests.e2e.conftest import rnnexp, sweep
from tests.health.conftest import STUDY, SWEEP_WITH_TWO_MODELS, HomeCopy, flip_byte, make_waiting, truncate

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
    with locks.held(home_copy.home.cache / "reviews-abc.lock"):
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
    damaged = home_copy.trial(1).best.read_bytes()
    home_copy.repair()
    assert not home_copy.trial(1).best.exists()
    assert (home_copy.trial(1).set_aside / "1-best.keras").read_bytes() == damaged
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
    negate_weights(home_copy.trial(1).best)
    shutil.copyfile(home_copy.trial(1).best, home_copy.mlflow_copy_of_best(1))
    with zipfile.ZipFile(home_copy.mlflow_copy_of_best(1), "a") as archive:
        archive.writestr("note", "so that it differs from the model in the home")
    home_copy.trial(1).held_out.unlink()
    other, copy = home_copy.trial(1).best.read_bytes(), home_copy.mlflow_copy_of_best(1).read_bytes()
    assert any("not the one of the best epoch" in line for line in home_copy.repair())
    assert not home_copy.trial(1).best.exists()
    kept = {path.read_bytes() for path in home_copy.trial(1).set_aside.iterdir()}
    assert {other, copy} <= kept, "a model is never deleted"


def test_mlflows_copy_replaces_a_model_of_another_epoch(home_copy: HomeCopy) -> None:
    folder = home_copy.trial(1)
    right = folder.best.read_bytes()
    negate_weights(folder.best)
    wrong = folder.best.read_bytes()
    folder.held_out.unlink()
    assert any("MLflow's copy is, and replaces it" in line for line in home_copy.repair())
    assert folder.best.read_bytes() == right
    assert wrong in {path.read_bytes() for path in folder.set_aside.iterdir()}


def negate_weights(path: Path) -> None:
    """Replaces a saved model by one with other weights: an intact model, but of no epoch."""
    changed = path.with_name("changed")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(changed, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            target.writestr(name, negated(content) if name.endswith(".h5") else content)
    changed.replace(path)


def negated(content: bytes) -> bytes:
    """Changes the sign of all numbers in an HDF5 file."""
    import h5py

    with h5py.File(io.BytesIO(content), "r") as source:
        target = io.BytesIO()
        with h5py.File(target, "w") as changed:
            for name in source:
                source.copy(name, changed)

            def flip(_: str, item: object) -> None:
                if isinstance(item, h5py.Dataset) and item.dtype.kind == "f":
                    item[...] = -item[...]

            changed.visititems(flip)
        return target.getvalue()


@pytest.fixture(scope="module")
def home_of_own_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a home after a sweep over the user's own file."""
    root = tmp_path_factory.mktemp("own")
    rng = np.random.default_rng(1)
    words = [["good", "fine", "great"], ["bad", "poor", "awful"]]
    rows = [
        f"{' '.join(rng.choice([*words[label], 'a', 'film'], 12))},{'pos' if label == 0 else 'neg'}"
        for label in rng.integers(0, 2, 400)
    ]
    (root / "mine.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    text = SWEEP_WITH_TWO_MODELS.replace(
        "data: {name: reviews, train_samples: 600, maxlen: 60}",
        f"data: {{path: {root / 'mine.csv'}, text: text, label: label, maxlen: 20}}",
    ).replace("trials: 3", "trials: 1")
    sweep(root, text)
    return root


@pytest.mark.parametrize("cached", [True, False])
def test_a_model_is_kept_if_the_users_file_was_edited(home_of_own_file: Path, tmp_path: Path, cached: bool) -> None:
    """The metrics on other rows differ from the recorded ones, although the model is the right one."""
    shutil.copytree(home_of_own_file, tmp_path / "copy")
    file = home_of_own_file / "mine.csv"
    original = file.read_text()
    copy = HomeCopy(tmp_path / "copy" / "home", home_of_own_file / "sweep.yaml")
    assert copy.doctor("--repair") == 0  # the paths of the moved home
    best, held_out = copy.trial(0).best.read_bytes(), copy.trial(0).held_out
    held_out.unlink()
    if not cached:
        shutil.rmtree(copy.home.cache)
    header, *rows = original.splitlines()
    flipped = [row.replace(",pos", ",x").replace(",neg", ",pos").replace(",x", ",neg") for row in rows]
    file.write_text("\n".join([header, *flipped]) + "\n")
    try:
        outcomes = list(checks.repair(copy.home))
    finally:
        file.write_text(original)
    assert copy.trial(0).best.read_bytes() == best
    assert not any(isinstance(event, Evicted) for event in events.read(copy.trial(0).events))
    if cached:  # the data of the training are still in the cache
        assert held_out.exists()
    else:
        failures = [outcome.failure for outcome in outcomes if outcome.failure]
        assert any("the data differ from those of the training" in failure for failure in failures), outcomes
        assert not held_out.exists()
        assert copy.doctor("--repair") == 0, "with the restored file the repair is complete"
        assert held_out.exists()


@pytest.mark.parametrize("name", ["best", "held_out"])
def test_a_file_that_cannot_be_read_now_is_not_damaged(home_copy: HomeCopy, name: str) -> None:
    path = getattr(home_copy.trial(1), name)
    content = path.read_bytes()
    path.unlink()
    path.mkdir()  # reading it fails with EISDIR, an error that is not about the content
    (found,) = [finding for finding in home_copy.findings() if finding.check == "checkpoints"]
    assert found.fix is None and "could not be checked" in found.what
    list(checks.repair(home_copy.home))
    path.rmdir()
    path.write_bytes(content)
    assert home_copy.findings() == []


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


def test_an_active_run_with_files_outside_the_home(home_copy: HomeCopy, tmp_path: Path) -> None:
    """Sending the event of an eviction deletes the model among the run's files, wherever these are."""
    run_id = home_copy.run_id(1)
    own = home_copy.mlflow_copy_of_best(1).parent.parent
    outside = tmp_path / "outside" / run_id / "artifacts"
    shutil.copytree(own, outside)
    home_copy.sql("mlflow.db", "UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", str(outside), run_id)
    events.append(home_copy.trial(1).events, Evicted(1.0))
    home_copy.trial(1).best.unlink()
    home_copy.find_one("runs", "small trial 1", "outside this home")
    outcomes = list(checks.repair(home_copy.home))
    assert (outside / "checkpoints" / "best.keras").exists()
    assert [outcome.finding.where for outcome in outcomes if outcome.done is None] == ["small trial 1"]
    home_copy.sql("mlflow.db", "UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", str(own), run_id)
    home_copy.repair()
    assert not (own / "checkpoints" / "best.keras").exists(), "inside the home the event is sent"
