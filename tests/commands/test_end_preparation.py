"""The preparation of a study's end: when it starts, and which bundle is used at the end. A fake checks the bundles."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rnnexp.commands import end_preparation, study_record, study_report
from rnnexp.commands.end_preparation import EndPreparation, PreparingReporter
from rnnexp.config.trial import DataConfig
from rnnexp.data.store import TokenStore, prepare
from rnnexp.engine import devices, local
from rnnexp.errors import WorkError
from rnnexp.export.check import Checked
from rnnexp.home import Home
from rnnexp.storage.views import TrialRow
from rnnexp.study import retention
from rnnexp.study.progress import ProgressSnapshot
from rnnexp.tracking import best_model
from rnnexp.trial.cursor import Cursor
from tests.commands.test_export import Exporting, FakeCheckProcess
from tests.study.fakes import FakeReporter

pytestmark = pytest.mark.integration  # each test runs a study and exports its best model

_RUN = "a" * 32


class Ending(Exporting):
    """A study whose end is prepared: its trials have models and runs."""

    def __init__(self, root: Path, store: TokenStore, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(root, store, monkeypatch)
        monkeypatch.setattr(end_preparation, "CheckProcess", FakeCheckProcess)
        monkeypatch.setattr(end_preparation, "_Imports", FakeImports)
        monkeypatch.setattr(local, "n_cores", lambda: 2)
        monkeypatch.setattr(devices, "gpu_is_possible", lambda: False)
        self.n_checks = 0
        self.folder = self.study.home.study("s")
        self.folder.sweep.write_text("study: s\n")
        for number in self.folder.numbers():
            Cursor(_RUN, 1).save(self.folder.trial(number).tracking)
        self.new()

    def new(self) -> None:
        self.preparation = EndPreparation(self.study.home, "s", self.study.view.identity, None)

    def _check(self, *arguments: Any, measure: bool) -> Checked:
        assert not measure, "the end of a study does not wait for measurements"
        self.n_checks += 1
        return super()._check(*arguments, measure=measure)

    @property
    def best(self) -> TrialRow:
        assert self.study.view.best is not None
        return self.study.view.best

    def prepare(self, number: int | None = None, n_running: int = 0) -> None:
        number = self.best.number if number is None else number
        self.preparation.proceed(number, n_running, is_last=True)

    @property
    def unfinished(self) -> list[Path]:
        return list(self.folder.root.glob(".best-*"))


class FakeImports:
    """Imports nothing."""

    def finish(self) -> None:
        return


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    return prepare(DataConfig(name="reviews"), Home.open(tmp_path_factory.mktemp("data")))


@pytest.fixture
def ending(tmp_path: Path, store: TokenStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ending]:
    found = Ending(tmp_path, store, monkeypatch)
    yield found
    found.preparation.close()


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What MLflow got: the report, bundles."""
    bundles: list[Any] = []
    monkeypatch.setattr(best_model, "is_logged", lambda *_: False)
    monkeypatch.setattr(study_report, "publish", lambda *_: bundles.append("report"))
    monkeypatch.setattr(best_model, "log", lambda *arguments: bundles.append(arguments[3]))
    return bundles


def record(ending: Ending) -> str | None:
    return study_record.record(ending.study.home, ending.study.view, 0.0, ending.preparation)


def test_a_prepared_bundle_is_published_and_logged_without_a_second_check(ending: Ending, recorded: list[Any]) -> None:
    ending.prepare()
    assert record(ending) is None
    assert recorded == ["report", ending.folder.bundle]
    assert (ending.folder.bundle / "manifest.json").exists()
    assert ending.n_checks == 1
    assert ending.unfinished == []


def test_nothing_is_published_before_the_end(ending: Ending) -> None:
    ending.prepare()
    work = ending.preparation.take(ending.best)
    assert work is not None
    assert work in ending.unfinished
    assert not ending.folder.bundle.exists()


def test_the_bundle_of_another_trial_is_not_used(ending: Ending, recorded: list[Any]) -> None:
    ending.prepare(ending.best.number + 1)
    assert record(ending) is None
    assert ending.n_checks == 2
    assert ending.unfinished == []


@pytest.mark.parametrize("name", ["best", "held_out"])
def test_a_bundle_whose_files_have_changed_is_checked_again(ending: Ending, recorded: list[Any], name: str) -> None:
    checked = threading.Event()
    ending.during = checked.set
    ending.prepare()
    assert checked.wait(30)
    path = getattr(ending.trial, name)
    path.write_bytes(path.read_bytes() + b"\0")
    assert record(ending) is None
    assert ending.n_checks == 2


def test_a_failed_check_is_repeated_at_the_end_and_reported(ending: Ending, recorded: list[Any]) -> None:
    def fail() -> None:
        raise WorkError("the export is not the trained model: the probabilities differ")

    ending.during = fail
    ending.prepare()
    fault = record(ending)
    assert fault is not None
    assert "the probabilities differ" in fault
    assert ending.n_checks == 2
    assert recorded == ["report"], "the report is recorded all the same"
    assert ending.unfinished == []
    assert not ending.folder.bundle.exists()


def test_a_model_that_is_removed_meanwhile_costs_only_its_preparation(ending: Ending, recorded: list[Any]) -> None:
    other = ending.best.number + 1
    retention.evict(ending.folder.trial(other), 1.0)
    ending.prepare(other)
    assert record(ending) is None
    assert recorded == ["report", ending.folder.bundle]


def test_an_interrupted_end_leaves_nothing(ending: Ending) -> None:
    ending.prepare()
    ending.preparation.close()
    assert ending.unfinished == []
    assert not ending.folder.bundle.exists()


def test_the_next_start_removes_what_a_killed_one_has_left(ending: Ending) -> None:
    ending.prepare()
    assert ending.preparation.take(ending.best) is not None, "and the command is killed here"
    assert len(ending.unfinished) == 1
    study_record.discard_unfinished(ending.folder.bundle)
    assert ending.unfinished == []


@pytest.mark.parametrize(("cores", "n_fitting", "gpu"), [(1, None, False), (2, 0, False), (2, None, True)])
def test_no_model_is_checked_beside_trials_without_room_for_it(
    ending: Ending, monkeypatch: pytest.MonkeyPatch, cores: int, n_fitting: int | None, gpu: bool
) -> None:
    monkeypatch.setattr(local, "n_cores", lambda: cores)
    monkeypatch.setattr(devices, "gpu_is_possible", lambda: gpu)
    ending.preparation = EndPreparation(ending.study.home, "s", "", n_fitting)
    ending.prepare()
    assert ending.preparation.take(ending.best) is None
    assert ending.n_checks == 0


def test_nothing_is_prepared_while_trials_are_left_to_start_or_all_cores_are_used(ending: Ending) -> None:
    reporter = PreparingReporter(FakeReporter(), ending.preparation)
    best = ending.best.number

    def tick(n_finished: int) -> None:
        reporter.tick(ProgressSnapshot(n_finished, 0, 4, best, 0.5, None))

    for number in range(2):
        reporter.started(number, {}, 1, 0, 1)
    tick(1)
    tick(2)
    assert ending.preparation.take(ending.best) is None
    reporter.ended(0, ending.best.state, 0.5, "")
    tick(3)
    assert ending.preparation.take(ending.best) is not None
