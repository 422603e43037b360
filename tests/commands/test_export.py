"""`export` beside a running sweep, and at the end of a sweep; the model and the check are replaced."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rnnexp import disk
from rnnexp.commands import export, study_record, study_report
from rnnexp.config.trial import DataConfig
from rnnexp.data.store import TokenStore, prepare
from rnnexp.errors import UserError, WorkError
from rnnexp.export import checked_bundle
from rnnexp.export.bundle import Source
from rnnexp.export.check import Checked
from rnnexp.home import Home, TrialFolder
from rnnexp.study import retention
from rnnexp.tracking import best_model
from rnnexp.trial.cursor import Cursor
from tests.study.fakes import FakeExecutor
from tests.study.small_study import Study

pytestmark = pytest.mark.integration  # each test exports a model


class FakeCheckProcess:
    """Stands for the process that checks a bundle."""

    def __init__(self, context: Any) -> None:
        return

    def kill(self) -> None:
        return


class Exporting:
    """A study with models, whose export calls a function instead of loading TensorFlow."""

    def __init__(self, root: Path, store: TokenStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.study = Study(root)
        self.study.run(FakeExecutor(), keep__checkpoints=4)
        self.during: Callable[[], Any] = lambda: None
        self.to = root / "best"
        monkeypatch.setattr(checked_bundle, "check", self._check)
        monkeypatch.setattr(export, "CheckProcess", FakeCheckProcess)
        monkeypatch.setattr(study_record, "CheckProcess", FakeCheckProcess)
        monkeypatch.setattr(checked_bundle, "create", self._create)
        monkeypatch.setattr(checked_bundle, "prepare", lambda config, home: store)
        monkeypatch.setattr(checked_bundle, "write_manifest", lambda *_: None)
        monkeypatch.setattr(export, "_card_writer", lambda *_: lambda *_: "card")

    def _create(self, source: Source, to: Path, formats: list[str]) -> Path:
        try:
            work = disk.folder_beside(to)
        except OSError as error:
            raise UserError(str(error)) from None
        (work / "manifest.json").write_text('{"bundle": 1, "files": {}}')
        return work

    def _check(self, *_: Any, measure: bool) -> Checked:
        self.during()
        return Checked((), ())

    def __call__(self, to: Path | None = None) -> int:
        arguments = {"home": str(self.study.home.root), "study": "s", "trial": None, "to": str(to or self.to)}
        return export.run(argparse.Namespace(**arguments, prefer=None, formats=None))

    @property
    def trial(self) -> TrialFolder:
        assert self.study.view.best is not None
        return self.study.home.study("s").trial(self.study.view.best.number)


@pytest.fixture
def exporting(tmp_path: Path, store: TokenStore, monkeypatch: pytest.MonkeyPatch) -> Exporting:
    return Exporting(tmp_path, store, monkeypatch)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    return prepare(DataConfig(name="reviews"), Home.open(tmp_path_factory.mktemp("data")))


def test_a_running_sweep_does_not_remove_the_model_during_its_export(exporting: Exporting) -> None:
    evicted: list[bool] = []
    exporting.during = lambda: evicted.append(retention.evict(exporting.trial, 1.0))
    assert exporting() == 0
    assert evicted == [False]
    assert exporting.trial.best.exists()
    assert exporting.trial.exported.exists()


@pytest.mark.parametrize("error", [WorkError, KeyboardInterrupt])
def test_a_failed_export_leaves_no_mark(exporting: Exporting, error: type[BaseException]) -> None:
    def fail() -> None:
        raise error("failed")

    exporting.during = fail
    with pytest.raises(error):
        exporting()
    assert not exporting.trial.exported.exists()
    assert not exporting.to.exists()
    assert not list(exporting.to.parent.glob(".best*"))
    exporting.during = lambda: None
    exporting()
    exporting.during = fail
    with pytest.raises(error):
        exporting()
    assert exporting.trial.exported.exists(), "the mark of an earlier export stays"


def test_a_model_that_was_just_removed_is_one_line(exporting: Exporting, monkeypatch: pytest.MonkeyPatch) -> None:
    real = retention.exporting

    def after_eviction(folder: TrialFolder) -> Any:
        retention.evict(folder, 1.0)
        return real(folder)

    monkeypatch.setattr(export, "exporting", after_eviction)
    with pytest.raises(UserError, match="its checkpoint is not kept"):
        exporting()
    assert not exporting.trial.exported.exists()


def test_a_symbolic_link_stays_and_its_folder_is_replaced(exporting: Exporting, tmp_path: Path) -> None:
    exporting(tmp_path / "disk" / "v1")
    link = tmp_path / "best"
    link.symlink_to(tmp_path / "disk" / "v1")
    (tmp_path / "disk" / "v1" / "old").write_text("")
    exporting()
    assert link.is_symlink()
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["v1"]
    assert {path.name for path in link.iterdir()} == {"manifest.json", "README.md"}
    link.unlink()
    link.symlink_to(tmp_path / "disk" / "v2")
    exporting()
    assert (tmp_path / "disk" / "v2" / "manifest.json").exists()


def test_a_place_that_is_no_folder_for_a_bundle_is_one_line(exporting: Exporting, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "full")
    for name, message in (
        ("loop", "leads to itself"),
        ("file", "is not a bundle"),
        ("full", "is not a bundle"),
        ("link", "is not a bundle"),
        ("file/below", "File exists"),
    ):
        with pytest.raises(UserError, match=message) as raised:
            exporting(tmp_path / name)
        assert "\n" not in str(raised.value)
        assert not exporting.trial.exported.exists()
    assert (tmp_path / "full" / "notes.txt").read_text() == "mine"


def test_a_folder_that_is_filled_during_the_export_stays(exporting: Exporting) -> None:
    def fill() -> None:
        exporting.to.mkdir()
        (exporting.to / "notes.txt").write_text("mine")

    exporting.during = fill
    with pytest.raises(UserError, match="is not a bundle"):
        exporting()
    assert (exporting.to / "notes.txt").read_text() == "mine"


def test_a_model_that_cannot_be_exported_is_not_blamed_on_mlflow(
    exporting: Exporting, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The study's own run and its report are written; the fault is returned, for exit code 1."""

    def fail() -> None:
        raise WorkError("the export is not the trained model: the probabilities differ")

    published: list[Any] = []
    logged: list[Path] = []
    monkeypatch.setattr(best_model, "is_logged", lambda *_: False)
    monkeypatch.setattr(study_report, "publish", lambda *arguments: published.append(arguments[3]))
    monkeypatch.setattr(best_model, "log", lambda *arguments: logged.append(arguments[3]))
    exporting.during = fail
    Cursor("a" * 32, 1).save(exporting.trial.tracking)
    home, study = exporting.study.home, exporting.study.view
    home.study("s").sweep.write_text("study: s\n")
    fault = study_record.record(home, study, 0.0)
    assert fault is not None
    assert "trial 0, the best one, could not be exported" in fault
    assert "the probabilities differ" in fault
    assert "\n" not in fault
    (files,) = published
    assert logged == []
    assert all(path.exists() for path in files)
    assert "MLflow" not in capsys.readouterr().out
    assert not home.study("s").bundle.exists()
    exporting.during = lambda: None
    assert study_record.record(home, study, 0.0) is None, "the same command tries it again"
    assert logged == [home.study("s").bundle]
