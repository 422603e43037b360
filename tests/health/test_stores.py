"""The two databases and the folders: lost, damaged, of another version, elsewhere, half deleted."""

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rnnexp.disk import zip_fault
from rnnexp.errors import RnnexpError
from rnnexp.health import checks, databases
from rnnexp.home import Home
from rnnexp.storage import store as stores
from rnnexp.storage.study_lock import hold_study_lock
from rnnexp.storage.views import view
from rnnexp.study import deletion
from rnnexp.tracking.client import MovedError, import_mlflow
from rnnexp.tracking.projection import Projection
from tests.e2e import contents
from tests.e2e.conftest import rnnexp
from tests.health.conftest import STUDY, Patient, cut, waits

pytestmark = pytest.mark.tensorflow


def _overwrite(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096 : 4096 * 12] = b"\xa5" * (4096 * 11)
    path.write_bytes(bytes(content))


def _empty(path: Path) -> None:
    path.write_bytes(b"")


DAMAGES = [_overwrite, cut, _empty, Path.unlink]


def _damage(patient: Patient, name: str, damage: Callable[[Path], None]) -> None:
    path = patient.root / name
    patient.sql(name, "PRAGMA wal_checkpoint(TRUNCATE)")
    stores.open_storage.cache_clear()
    damage(path)
    for suffix in ("-wal", "-shm"):
        path.with_name(name + suffix).unlink(missing_ok=True)


@pytest.mark.parametrize("damage", DAMAGES)
def test_optunas_database_is_built_anew(patient: Patient, damage: Callable[[Path], None]) -> None:
    rows, before = patient.rows(), view(patient.home, STUDY)
    _damage(patient, "optuna.db", damage)
    patient.named("databases", "optuna.db")
    patient.repair()
    assert patient.rows() == rows
    after = view(patient.home, STUDY)
    assert (after.identity, after.definition, after.n_trials) == (before.identity, before.definition, before.n_trials)
    aside = [path for path in patient.root.glob("optuna.db.damaged-*") if not path.name.endswith(("-wal", "-shm"))]
    assert len(aside) == (damage is not Path.unlink)


def test_a_study_that_was_built_anew_goes_on(patient: Patient) -> None:
    """With a trial that was cut off and whose best model is damaged, so that it has to begin anew."""
    waits(patient, 2)
    cut(patient.trial(2).best)
    patient.repair()
    assert not patient.trial(2).state.exists()
    _damage(patient, "optuna.db", Path.unlink)
    patient.home.study(STUDY).about.unlink()  # as an earlier version of the program left it: MLflow says whose it is
    patient.repair()
    assert [row["state"] for row in patient.rows()] == ["COMPLETE", "COMPLETE", "WAITING"]
    done = rnnexp("sweep", str(patient.sweep), "--home", str(patient.root))
    assert done.returncode == 0, done.stdout + done.stderr
    assert [row["state"] for row in patient.rows()] == ["COMPLETE"] * 3
    assert patient.rows()[2]["attempts"] == 2
    assert zip_fault(patient.trial(2).best) is None
    assert patient.findings() == []


@pytest.mark.parametrize("damage", DAMAGES)
def test_mlflows_database_is_written_anew(patient: Patient, damage: Callable[[Path], None]) -> None:
    _damage(patient, "mlflow.db", damage)
    patient.named("databases", "mlflow.db")
    patient.repair()
    assert patient.sql("mlflow.db", "SELECT count(*) FROM runs WHERE lifecycle_stage = 'active'") == [(3,)]
    assert len({run for (run,) in patient.sql("mlflow.db", "SELECT run_uuid FROM runs")}) == 3
    assert all(patient.copy_of_best(number).exists() == patient.trial(number).best.exists() for number in range(3))


def test_a_study_that_is_run_keeps_its_database(patient: Patient) -> None:
    _damage(patient, "optuna.db", cut)
    damaged = (patient.root / "optuna.db").read_bytes()
    with hold_study_lock(patient.home.study(STUDY).lock, STUDY):
        (left,) = checks.repair(patient.home)
    assert left.failure is not None
    assert "is being run already" in left.failure
    assert (patient.root / "optuna.db").read_bytes() == damaged


def test_a_database_that_is_not_written_ahead_is_set_to_be(patient: Patient) -> None:
    stores.open_storage.cache_clear()
    patient.sql("optuna.db", "PRAGMA journal_mode=DELETE")
    patient.named("databases", "optuna.db", "not written ahead")
    patient.repair()
    assert patient.sql("optuna.db", "PRAGMA journal_mode") == [("wal",)]


def test_tables_of_an_older_optuna_are_upgraded(patient: Patient) -> None:
    rows = patient.rows()
    stores.open_storage.cache_clear()
    patient.sql("optuna.db", "UPDATE alembic_version SET version_num = 'v3.0.0.d'")
    patient.named("databases", "optuna.db", "older version")
    patient.repair()
    assert patient.rows() == rows
    assert len(list(patient.root.glob("optuna.db.before-v3.0.0.d-*"))) == 1


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
    (found,) = checks.examine(home)
    assert "older version" in found.what
    assert [one.done is not None for one in list(checks.repair(home))[:1]] == [True]
    assert list(checks.examine(home)) == []
    assert databases._mlflow_schema(home).found == head


@pytest.mark.parametrize("name", ["optuna.db", "mlflow.db"])
def test_tables_of_a_newer_version_are_left_alone(
    patient: Patient, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stores.open_storage.cache_clear()
    patient.sql(name, "UPDATE alembic_version SET version_num = 'from the future'")
    assert patient.doctor("--repair") == 1
    assert "a newer one has written it" in capsys.readouterr().out
    assert patient.sql(name, "SELECT version_num FROM alembic_version") == [("from the future",)]


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


def test_a_moved_home_is_whole_again(moved: Patient, tmp_path: Path, healthy: Path) -> None:
    with pytest.raises(MovedError, match="doctor --repair"):
        Projection.open(moved.home, STUDY, "identity")
    assert moved.findings()[0].check == "moved"
    hidden = healthy / "gone"
    (healthy / "home").rename(hidden)  # nothing may still be read from there
    try:
        assert moved.doctor("--repair") == 0
        assert len(list(moved.root.glob("mlflow.db.before-move-*"))) == 1
        (tmp_path / "fetched").mkdir()
        command = [sys.executable, "-c", _USE, moved.home.mlflow_uri, str(tmp_path / "fetched")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "probability" in done.stdout
        assert moved.findings() == []
        done = rnnexp("sweep", str(moved.sweep), "--home", str(moved.root))
        assert done.returncode == 0, done.stderr
        assert "could not be recorded" not in done.stdout
        assert "MLflow lacks" not in done.stdout
    finally:
        hidden.rename(healthy / "home")
    contents.check_runs(moved.mlflow(), STUDY, moved.rows(), keep=2)


def test_an_experiment_with_files_of_its_own_was_not_moved(patient: Patient, tmp_path: Path) -> None:
    patient.mlflow().create_experiment("theirs", artifact_location=str(tmp_path / "artifacts" / "theirs"))
    assert patient.findings() == []


@pytest.mark.parametrize("step", ["delete_experiment", "delete_study"])
def test_a_deletion_that_was_cut_off_is_finished(
    patient: Patient, step: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(deletion, step, killed)
        with contextlib.suppress(KeyboardInterrupt):
            deletion.delete(patient.home, STUDY)
    refused = rnnexp("sweep", str(patient.sweep), "--home", str(patient.root))
    assert refused.returncode == 2
    assert "its deletion was cut off" in refused.stderr
    assert patient.named("folders", "study small").frees_bytes > 0
    patient.repair()
    assert stores.study_names(patient.home) == []
    assert not patient.home.study(STUDY).root.exists()
    assert not list(patient.home.artifacts.rglob("*.keras"))


def test_a_study_that_optuna_has_lost_is_built_anew(patient: Patient) -> None:
    rows = patient.rows()
    stores.optuna.delete_study(study_name=STUDY, storage=stores.open_storage(patient.home))
    patient.named("folders", "study small", "Optuna does not know it")
    patient.repair()
    assert patient.rows() == rows


def test_trials_that_an_older_database_lacks_are_added(patient: Patient) -> None:
    rows = patient.rows()
    (last,) = patient.sql("optuna.db", "SELECT trial_id FROM trials WHERE number = 2")[0]
    for table in (
        *("trial_params", "trial_values", "trial_intermediate_values"),
        *("trial_user_attributes", "trial_system_attributes", "trials"),
    ):
        patient.sql("optuna.db", f"DELETE FROM {table} WHERE trial_id = ?", last)
    patient.named("folders", "study small", "its trials 2")
    patient.repair()
    assert patient.rows() == rows


def test_a_folder_without_its_sweep_file_is_only_named(patient: Patient) -> None:
    root = patient.home.study("stray").root
    shutil.copytree(patient.home.study(STUDY).trials, root / "trials")
    assert patient.named("folders", "study stray").fix is None
    outcomes = list(checks.repair(patient.home))
    assert [one.done for one in outcomes] == [None]
    assert root.is_dir()


def test_a_trial_whose_folder_is_lost_waits_in_its_place(patient: Patient) -> None:
    rows = patient.rows()
    shutil.rmtree(patient.trial(0).root)
    _damage(patient, "optuna.db", Path.unlink)
    with contextlib.suppress(RnnexpError):
        list(checks.repair(patient.home))
    after = patient.rows()
    assert [row["state"] for row in after] == ["WAITING", "COMPLETE", "COMPLETE"]
    assert after[1:] == rows[1:]
