"""Databases and folders that are lost, damaged, of another version, moved or partly deleted."""

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rnnexp.disk import zip_fault
from rnnexp.errors import RnnexpError
from rnnexp.health import checks, sqlite_files
from rnnexp.home import Home
from rnnexp.storage import bulk_reader, database
from rnnexp.storage.study_lock import hold_study_lock
from rnnexp.storage.views import view
from rnnexp.study import deletion
from rnnexp.tracking.client import MovedError, import_mlflow
from rnnexp.tracking.projection import Projection
from tests.e2e import contents
from tests.e2e.conftest import rnnexp, sweep
from tests.health.conftest import STUDY, SWEEP_WITH_TWO_MODELS, HomeCopy, make_waiting, truncate

pytestmark = pytest.mark.tensorflow


def _overwrite(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096 : 4096 * 12] = b"\xa5" * (4096 * 11)
    path.write_bytes(bytes(content))


def _empty(path: Path) -> None:
    path.write_bytes(b"")


DAMAGES = [_overwrite, truncate, _empty, Path.unlink]


def _damage(home_copy: HomeCopy, name: str, damage: Callable[[Path], None]) -> None:
    path = home_copy.root / name
    home_copy.sql(name, "PRAGMA wal_checkpoint(TRUNCATE)")
    database.open_storage.cache_clear()
    damage(path)
    for suffix in ("-wal", "-shm"):
        path.with_name(name + suffix).unlink(missing_ok=True)


@pytest.mark.parametrize("damage", DAMAGES)
def test_optunas_database_is_rebuilt(home_copy: HomeCopy, damage: Callable[[Path], None]) -> None:
    rows, before = home_copy.rows(), view(home_copy.home, STUDY)
    _damage(home_copy, "optuna.db", damage)
    home_copy.find_one("databases", "optuna.db")
    home_copy.repair()
    assert home_copy.rows() == rows
    after = view(home_copy.home, STUDY)
    assert (after.identity, after.definition, after.n_trials) == (before.identity, before.definition, before.n_trials)
    renamed = [path for path in home_copy.root.glob("optuna.db.damaged-*") if not path.name.endswith(("-wal", "-shm"))]
    assert len(renamed) == (damage is not Path.unlink)


def test_a_rebuilt_study_resumes(home_copy: HomeCopy) -> None:
    """One of its trials was interrupted and has a damaged model, so it starts from the beginning."""
    make_waiting(home_copy, 2)
    truncate(home_copy.trial(2).best)
    home_copy.repair()
    assert not home_copy.trial(2).state.exists()
    _damage(home_copy, "optuna.db", Path.unlink)
    home_copy.home.study(STUDY).about.unlink()  # as in homes of earlier versions: the identity is read from MLflow
    home_copy.repair()
    assert [row["state"] for row in home_copy.rows()] == ["COMPLETE", "COMPLETE", "WAITING"]
    done = rnnexp("sweep", str(home_copy.sweep), "--home", str(home_copy.root))
    assert done.returncode == 0, done.stdout + done.stderr
    assert [row["state"] for row in home_copy.rows()] == ["COMPLETE"] * 3
    assert home_copy.rows()[2]["attempts"] == 2
    assert zip_fault(home_copy.trial(2).best) is None
    assert home_copy.findings() == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_mlflows_database_is_rebuilt(home_copy: HomeCopy, damage: Callable[[Path], None]) -> None:
    _damage(home_copy, "mlflow.db", damage)
    home_copy.find_one("databases", "mlflow.db")
    home_copy.repair()
    assert home_copy.sql("mlflow.db", "SELECT count(*) FROM runs WHERE lifecycle_stage = 'active'") == [(3,)]
    assert len({run for (run,) in home_copy.sql("mlflow.db", "SELECT run_uuid FROM runs")}) == 3
    assert all(
        home_copy.mlflow_copy_of_best(number).exists() == home_copy.trial(number).best.exists() for number in range(3)
    )


def test_the_database_of_a_running_study_is_not_repaired(home_copy: HomeCopy) -> None:
    _damage(home_copy, "optuna.db", truncate)
    damaged = (home_copy.root / "optuna.db").read_bytes()
    with hold_study_lock(home_copy.home, STUDY):
        (outcome,) = checks.repair(home_copy.home)
    assert outcome.failure is not None
    assert "cannot be repaired while small is running" in outcome.failure
    assert (home_copy.root / "optuna.db").read_bytes() == damaged


def test_the_write_ahead_log_is_switched_on(home_copy: HomeCopy) -> None:
    database.open_storage.cache_clear()
    home_copy.sql("optuna.db", "PRAGMA journal_mode=DELETE")
    home_copy.find_one("databases", "optuna.db", "write-ahead log")
    home_copy.repair()
    assert home_copy.sql("optuna.db", "PRAGMA journal_mode") == [("wal",)]


def test_tables_of_an_older_optuna_are_upgraded(home_copy: HomeCopy) -> None:
    rows = home_copy.rows()
    database.open_storage.cache_clear()
    home_copy.sql("optuna.db", "UPDATE alembic_version SET version_num = 'v3.0.0.d'")
    home_copy.find_one("databases", "optuna.db", "older version")
    home_copy.repair()
    assert home_copy.rows() == rows
    assert len(list(home_copy.root.glob("optuna.db.before-v3.0.0.d-*"))) == 1


def test_tables_of_an_older_mlflow_are_upgraded(tmp_path: Path) -> None:
    import_mlflow()
    from alembic import command
    from alembic.script import ScriptDirectory
    from mlflow.store.db import utils
    from sqlalchemy import create_engine

    home = Home.at(tmp_path)
    config = utils._get_alembic_config(home.mlflow_uri)
    engine = create_engine(home.mlflow_uri)
    utils.InitialBase.metadata.create_all(engine)
    head = ScriptDirectory.from_config(config).get_current_head()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, f"{head}-2")
    engine.dispose()
    (found,) = checks.find_problems(home)
    assert "older version" in found.what
    assert [outcome.done is not None for outcome in list(checks.repair(home))[:1]] == [True]
    assert list(checks.find_problems(home)) == []
    assert sqlite_files.schema_version(home.mlflow_db) == head


@pytest.mark.parametrize("name", ["optuna.db", "mlflow.db"])
def test_tables_of_a_newer_version_are_not_changed(
    home_copy: HomeCopy, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    database.open_storage.cache_clear()
    home_copy.sql(name, "UPDATE alembic_version SET version_num = 'from the future'")
    assert home_copy.doctor("--repair") == 1
    assert "a newer library has written it" in capsys.readouterr().out
    assert home_copy.sql(name, "SELECT version_num FROM alembic_version") == [("from the future",)]


_USE = """
import sys
from rnnexp.tracking.client import MovedError, import_mlflow
from rnnexp.tracking.projection import Projection
mlflow = import_mlflow()
mlflow.set_tracking_uri(sys.argv[1])
mlflow.set_registry_uri(sys.argv[1])
client = mlflow.MlflowClient()
for run in client.search_runs([client.get_experiment_by_name("small").experiment_id]):
    for item in client.list_artifacts(run.info.run_id):
        client.download_artifacts(run.info.run_id, item.path, sys.argv[2])
print(mlflow.pyfunc.load_model("models:/small@best").predict(["I loved it"]))
"""


def test_a_moved_home_works_after_the_repair(moved_copy: HomeCopy, tmp_path: Path, original: Path) -> None:
    with pytest.raises(MovedError, match="doctor --repair"):
        Projection.open(moved_copy.home, STUDY, "identity")
    assert moved_copy.findings()[0].check == "moved"
    hidden = original / "gone"
    (original / "home").rename(hidden)  # so that nothing can be read from there
    try:
        assert moved_copy.doctor("--repair") == 0
        assert len(list(moved_copy.root.glob("mlflow.db.before-move-*"))) == 1
        (tmp_path / "fetched").mkdir()
        command = [sys.executable, "-c", _USE, moved_copy.home.mlflow_uri, str(tmp_path / "fetched")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "probability" in done.stdout
        assert moved_copy.findings() == []
        done = rnnexp("sweep", str(moved_copy.sweep), "--home", str(moved_copy.root))
        assert done.returncode == 0, done.stderr
        assert "could not be recorded" not in done.stdout
        assert "MLflow lacks" not in done.stdout
    finally:
        hidden.rename(original / "home")
    contents.check_runs(moved_copy.client(), STUDY, moved_copy.rows(), keep=2)


@pytest.mark.parametrize("name", ["home #1?x", "a%20b{c}"])
def test_a_home_with_special_characters_in_its_path(tmp_path: Path, name: str) -> None:
    """A real study in such a home, then its move to an ordinary one."""
    (tmp_path / name).mkdir()
    sweep(tmp_path / name, SWEEP_WITH_TWO_MODELS)
    home_copy = HomeCopy(tmp_path / name / "home", tmp_path / name / "sweep.yaml")
    assert home_copy.findings() == []
    contents.check_runs(home_copy.client(), STUDY, home_copy.rows(), keep=2)
    assert [path.name for path in tmp_path.iterdir()] == [name], "a folder was created elsewhere"
    database.open_storage.cache_clear()
    moved = HomeCopy(tmp_path / "moved", home_copy.sweep)
    home_copy.root.rename(moved.root)
    assert moved.findings()[0].check == "moved"
    moved.repair()
    contents.check_runs(moved.client(), STUDY, moved.rows(), keep=2)
    database.open_storage.cache_clear()


def test_an_experiment_of_another_program_is_not_a_finding(home_copy: HomeCopy, tmp_path: Path) -> None:
    home_copy.client().create_experiment("theirs", artifact_location=str(tmp_path / "artifacts" / "theirs"))
    assert home_copy.findings() == []


@pytest.mark.parametrize("step", ["delete_experiment", "delete_study"])
def test_an_interrupted_deletion_is_completed(
    home_copy: HomeCopy, step: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def kill(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(deletion, step, kill)
        with contextlib.suppress(KeyboardInterrupt):
            deletion.delete(home_copy.home, STUDY)
    refused = rnnexp("sweep", str(home_copy.sweep), "--home", str(home_copy.root))
    assert refused.returncode == 2
    assert "its deletion was interrupted" in refused.stderr
    assert home_copy.find_one("folders", "study small").frees_bytes > 0
    home_copy.repair()
    assert bulk_reader.study_names(home_copy.home) == []
    assert not home_copy.home.study(STUDY).root.exists()
    assert not list(home_copy.home.artifacts.rglob("*.keras"))


def test_a_study_that_optuna_has_lost_is_rebuilt(home_copy: HomeCopy) -> None:
    rows = home_copy.rows()
    database.delete_study(home_copy.home, STUDY)
    home_copy.find_one("folders", "study small", "Optuna does not know it")
    home_copy.repair()
    assert home_copy.rows() == rows


def test_trials_that_the_database_lacks_are_added(home_copy: HomeCopy) -> None:
    rows = home_copy.rows()
    (last,) = home_copy.sql("optuna.db", "SELECT trial_id FROM trials WHERE number = 2")[0]
    for table in (
        *("trial_params", "trial_values", "trial_intermediate_values"),
        *("trial_user_attributes", "trial_system_attributes", "trials"),
    ):
        home_copy.sql("optuna.db", f"DELETE FROM {table} WHERE trial_id = ?", last)
    home_copy.find_one("folders", "study small", "its trials 2")
    home_copy.repair()
    assert home_copy.rows() == rows


def test_a_folder_without_a_sweep_file_is_reported_but_not_changed(home_copy: HomeCopy) -> None:
    root = home_copy.home.study("stray").root
    shutil.copytree(home_copy.home.study(STUDY).trials, root / "trials")
    assert home_copy.find_one("folders", "study stray").fix is None
    outcomes = list(checks.repair(home_copy.home))
    assert [outcome.done for outcome in outcomes] == [None]
    assert root.is_dir()


def test_a_trial_without_folder_is_waiting_after_the_rebuild(home_copy: HomeCopy) -> None:
    rows = home_copy.rows()
    shutil.rmtree(home_copy.trial(0).root)
    _damage(home_copy, "optuna.db", Path.unlink)
    with contextlib.suppress(RnnexpError):
        list(checks.repair(home_copy.home))
    after = home_copy.rows()
    assert [row["state"] for row in after] == ["WAITING", "COMPLETE", "COMPLETE"]
    assert after[1:] == rows[1:]
