"""A repair in one home leaves alone what another home has in the team's database."""

from pathlib import Path

import pytest

from rnnexp import home_id
from rnnexp.errors import StudyError
from rnnexp.health import unknown
from rnnexp.health.studies import Observation
from rnnexp.storage import bulk_reader, database
from rnnexp.storage.rebuild import rebuild
from rnnexp.trial.states import State
from tests.study.fakes import FakeExecutor
from tests.study.small_study import Study


@pytest.fixture
def study(on_postgres: str, tmp_path: Path) -> Study:
    study = Study(tmp_path / "a")
    study.run(FakeExecutor())
    study.home.study("s").sweep.write_text(study.file.read_text())
    return study


def _other(root: Path) -> Study:
    other = Study(root / "b")
    other.run(FakeExecutor(), budget__trials=6)
    return other


def test_an_interrupted_deletion_leaves_the_new_study_of_another_home(study: Study, tmp_path: Path) -> None:
    study.home.study("s").deleted.touch()
    database.delete_study(study.home, "s")  # killed here: the name is free
    other = _other(tmp_path)
    (finding,) = unknown.check(Observation(study.home))
    assert finding.fix is not None
    assert finding.fix() == "the deletion is completed"
    assert not study.home.study("s").root.exists()
    assert other.states() == [State.COMPLETE] * 6


def test_a_rebuilt_study_belongs_to_the_home_that_rebuilt_it(study: Study, tmp_path: Path) -> None:
    database.delete_study(study.home, "s")
    assert rebuild(study.home, "s", None) == 4
    assert bulk_reader.own_study_names(study.home) == ["s"]
    study.run(FakeExecutor(), budget__trials=5)
    assert study.states() == [State.COMPLETE] * 5


def test_the_folder_of_a_study_that_the_database_gives_to_another_home_is_to_be_kept(study: Study) -> None:
    home_id.claim(study.home)
    study.home.id_file.unlink()  # the home gets another identity
    (finding,) = unknown.check(Observation(study.home))
    assert finding.fix is None
    assert "keep" in finding.what
    assert "remove" not in finding.what


def test_trials_are_not_added_to_a_study_of_another_home(study: Study, tmp_path: Path) -> None:
    database.delete_study(study.home, "s")
    other = _other(tmp_path)
    (finding,) = unknown.check(Observation(study.home))
    assert finding.fix is None
    assert f"another study of this name, whose trials are in home {other.home.root}" in finding.what
    assert "remove it" in finding.what
    with pytest.raises(StudyError, match="its trials are in home"):
        rebuild(study.home, "s", None)
    assert other.states() == [State.COMPLETE] * 6
