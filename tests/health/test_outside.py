"""A hostile or copied home: its databases and links name places outside it. A repair changes nothing there."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from rnnexp.cli import main
from rnnexp.disk import WRITING
from rnnexp.health import checks, leftovers
from rnnexp.health.places import is_inside, own_artifact_folder
from rnnexp.health.studies import Observation
from rnnexp.home import Home
from rnnexp.storage import bulk_reader, database
from rnnexp.tracking.client import open_client
from rnnexp.trial.cursor import Cursor
from tests.study.fakes import FakeExecutor
from tests.study.small_study import Study

pytestmark = pytest.mark.integration  # each test repairs a home three times

RUN = "a" * 32


def _contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    study = Study(tmp_path)
    study.run(FakeExecutor())
    shutil.rmtree(study.home.study("s").trials)  # the fake models are damaged
    study.home.study("s").sweep.write_text(study.file.read_text())
    yield study.home
    database.open_storage.cache_clear()


@pytest.fixture
def victim(tmp_path: Path, home: Home) -> Iterator[Path]:
    """A folder outside the home with everything that a repair would remove or write."""
    root = tmp_path / "victim"
    trial = home.study("s").trial(0).root
    for folder in (root / trial.relative_to(home.study("s").root), root / "00001", root / RUN / "artifacts"):
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "checkpoints" / "best.keras").write_bytes(b"damaged")
        (folder / f"{WRITING}state.npz").write_bytes(b"partial")
        (folder / "state.npz").write_bytes(b"damaged")
        (folder / "events.jsonl").write_bytes(b"")
        (folder / "config.yaml").write_bytes(b"{}")
        Cursor("b" * 32, 1).save(folder / "mlflow.json")
    (root / "sweep.yaml").write_text((home.study("s").sweep).read_text())
    (root / f"{WRITING}log").write_bytes(b"partial")
    (root / "lock").write_bytes(b"precious")
    (root / "deleted").touch()
    before = _contents(root)
    yield root
    assert _contents(root) == before


def _repair(home: Home) -> list[str]:
    """Repairs the home three times; returns the places of the remaining findings."""
    for _ in range(3):
        outcomes = list(checks.repair(home))
    return [outcome.finding.where for outcome in outcomes if outcome.done is None]


@pytest.mark.parametrize("name", ["../../victim", "s/../../../victim", ".."])
def test_a_study_name_that_leads_outside(home: Home, victim: Path, name: str) -> None:
    optuna.create_study(storage=database.open_storage(home), study_name=name).enqueue_trial({})
    (victim / "deleted").rename(victim.parent / "marker")
    open_client(home)
    _repair(home)
    assert bulk_reader.study_names(home) == ["s"]
    assert main(["delete", name, "--yes", "--home", str(home.root)]) == 2
    (victim.parent / "marker").rename(victim / "deleted")


@pytest.mark.parametrize("deleted", [True, False])
def test_a_link_to_a_study_outside(home: Home, victim: Path, deleted: bool) -> None:
    if not deleted:
        (victim / "deleted").rename(victim.parent / "marker")
    optuna.create_study(storage=database.open_storage(home), study_name="linked")
    (home.work / "linked").symlink_to(victim)
    open_client(home)
    assert "work/linked" in _repair(home)
    if not deleted:
        (victim.parent / "marker").rename(victim / "deleted")


def test_a_link_to_a_trial_outside(home: Home, victim: Path) -> None:
    home.study("s").trials.mkdir()
    home.study("s").trial(1).root.symlink_to(victim / "00001")
    open_client(home)
    assert "s trial 1" in _repair(home)


def test_links_in_a_trial(home: Home, victim: Path) -> None:
    folder = home.study("s").trial(1)
    folder.root.mkdir(parents=True)
    (folder.root / "checkpoints").symlink_to(victim / "00001" / "checkpoints")
    folder.events.symlink_to(victim / "00001" / "events.jsonl")
    open_client(home)
    assert "s trial 1" in _repair(home)


def test_a_link_to_a_lock_outside(home: Home, victim: Path) -> None:
    """The lock of a study is written when it is taken."""
    home.study("s").lock.unlink(missing_ok=True)
    home.study("s").lock.symlink_to(victim / "lock")
    assert "work/s" in _repair(home)


def test_links_to_folders_of_the_home_outside(home: Home, victim: Path) -> None:
    open_client(home)
    home.artifacts.mkdir(exist_ok=True)
    for link in (home.artifacts / "s", home.cache, home.logs):
        link.symlink_to(victim)
    assert _repair(home)


@pytest.mark.parametrize("way", ["path", "uri", "parent", "encoded", "link"])
def test_a_deleted_run_with_files_outside(home: Home, victim: Path, way: str) -> None:
    """MLflow deletes the artifacts of a deleted run wherever its database says that they are."""
    client = open_client(home)
    own = home.experiment_artifacts("s")
    experiment = client.create_experiment("s", artifact_location=str(own))
    kept, foreign = (client.create_run(experiment).info.run_id for _ in range(2))
    client.log_text(kept, "x" * 100, "text.txt")
    shutil.copytree(victim / RUN, victim.parent / "outside" / foreign)
    place = victim.parent / "outside" / foreign / "artifacts"
    (own / "link").symlink_to(place.parent)
    before = _contents(place)
    address = {
        "path": str(place),
        "uri": place.as_uri(),
        "parent": f"{own}/../../../outside/{foreign}/artifacts",
        "encoded": f"{own}/%252e%252e/%252e%252e/%252e%252e/outside/{foreign}/artifacts",
        "link": f"{own}/link/artifacts",
    }[way]
    for run in (kept, foreign):
        client.delete_run(run)
    _sql(home, "UPDATE runs SET artifact_uri = ? WHERE run_uuid = ?", address, foreign)
    (found,) = [finding for finding in leftovers.check(Observation(home)) if finding.where == "mlflow.db"]
    assert found.frees_bytes == 100
    assert found.repair is not None
    if way != "encoded":  # decoded once, it is a place inside the home; MLflow would decode it twice
        assert found.repair.endswith("the files of 1 of them are outside this home and are kept")
    _repair(home)
    assert _contents(place) == before
    assert not list(own.glob("*/artifacts/text.txt"))
    assert not [finding for finding in leftovers.check(Observation(home)) if finding.where == "mlflow.db"]


def _sql(home: Home, statement: str, *values: str) -> None:
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(home.mlflow_db, timeout=60)) as connection, connection:
        connection.execute(statement, values)


def test_own_artifact_folder(tmp_path: Path) -> None:
    home = Home.at(tmp_path / "home")
    own = home.artifacts / "s" / RUN / "artifacts"
    own.mkdir(parents=True)
    assert own_artifact_folder(home, str(own), RUN) == own
    assert own_artifact_folder(home, own.as_uri(), RUN) == own
    assert own_artifact_folder(home, str(own), "b" * 32) is None
    assert own_artifact_folder(home, str(home.artifacts / "s" / "s"), "s") is None
    for place in (f"s3://bucket/{RUN}/artifacts", f"mlflow-artifacts:/{RUN}/artifacts", "", f"file://host{own}"):
        assert own_artifact_folder(home, place, RUN) is None
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "artifacts").symlink_to(home.artifacts)
    copied = Home.at(tmp_path / "copy")
    assert own_artifact_folder(copied, str(copied.artifacts / "s" / RUN / "artifacts"), RUN) is None


def test_is_inside(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    assert is_inside(tmp_path, tmp_path / "a" / "new")
    assert not is_inside(tmp_path, tmp_path)
    assert not is_inside(tmp_path / "a", tmp_path / "a" / ".." / "b")
    assert not is_inside(tmp_path / "a", tmp_path / "a" / "up" / "b")
    assert not is_inside(tmp_path / "a", tmp_path / "ab")
