"""What a server of MLflow answers, or fails to answer, changes nothing of others and nothing outside the home."""

import dataclasses
import types
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST, TEMPORARILY_UNAVAILABLE

from rnnexp.errors import StudyError
from rnnexp.home import Home
from rnnexp.home_id import HomeId
from rnnexp.storage.metadata import StudyHome
from rnnexp.storage.views import StudyView
from rnnexp.study import deletion
from rnnexp.tracking import best_model, fetch
from rnnexp.tracking.client import if_exists
from rnnexp.tracking.experiments import DeletedRecords
from rnnexp.tracking.ownership import Ownership
from rnnexp.trial import events
from rnnexp.trial.events import AttemptEnded, EpochEnded, Started
from tests.study.fakes import FakeExecutor
from tests.study.small_study import Study


class _Registry:
    """MLflow's client, whose answer to the question for an alias is an error."""

    def __init__(self, code: int) -> None:
        self._code = code
        self.aliases: dict[str, str] = {}

    def get_model_version_by_alias(self, *_: str) -> Any:
        raise MlflowException("no answer", self._code)

    def set_registered_model_alias(self, _: str, alias: str, version: str) -> None:
        self.aliases[alias] = version


def test_an_alias_that_cannot_be_read_is_not_set() -> None:
    ownership = Ownership("s", "identity", "http://host", HomeId("home"))
    missing, silent = _Registry(INVALID_PARAMETER_VALUE), _Registry(TEMPORARILY_UNAVAILABLE)
    assert best_model._set_alias(missing, ownership, "7", "best") is None
    assert missing.aliases == {"best": "7"}
    with pytest.raises(MlflowException):
        best_model._set_alias(silent, ownership, "7", "best")
    assert silent.aliases == {}


def test_only_an_answer_says_that_something_does_not_exist() -> None:
    def answer(code: int) -> Any:
        raise MlflowException("", code)

    assert if_exists(lambda: answer(RESOURCE_DOES_NOT_EXIST)) is None
    assert if_exists(lambda: "run") == "run"
    with pytest.raises(MlflowException):
        if_exists(lambda: answer(TEMPORARILY_UNAVAILABLE))


def test_a_server_cannot_name_folders_to_remove(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, victim = Study(tmp_path / "a"), tmp_path / "victim"
    study.run(FakeExecutor())
    own, other = "a" * 32, "b" * 32
    place = study.home.experiment_artifacts("s")
    for folder in (place / own, place / other, place / "models" / f"m-{own}", victim):
        folder.mkdir(parents=True)
    named = frozenset((own, str(victim), "../../../../victim", ".."))
    monkeypatch.setattr(Home, "tracking_server", property(lambda _: "http://host"))
    monkeypatch.setattr(deletion, "delete_experiment", lambda *_: DeletedRecords(named, frozenset({f"m-{own}"}), 1, 0))
    deletion.delete(study.home, "s")
    assert victim.exists()
    assert sorted(path.name for path in place.iterdir()) == [other, "models"]
    assert list((place / "models").iterdir()) == []


class _Files:
    """MLflow's client, with the files of one run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.n_downloads = 0

    def list_artifacts(self, _: str, path: str = "") -> list[Any]:
        return [types.SimpleNamespace(path=str(item.relative_to(self.root))) for item in (self.root / path).iterdir()]

    def download_artifacts(self, _: str, path: str, to: str) -> str:
        self.n_downloads += 1
        copy = Path(to) / Path(path).name
        copy.write_bytes((self.root / path).read_bytes())
        return str(copy)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Home, StudyView, _Files]:
    """Another home that sees a study, and the files that its MLflow server has of trial 0."""
    study, home = Study(tmp_path / "a"), Home.open(tmp_path / "b")
    study.run(FakeExecutor())
    files = _Files(tmp_path / "artifacts")
    (files.root / "checkpoints").mkdir(parents=True)
    monkeypatch.setattr(fetch, "open_client", lambda _: files)
    monkeypatch.setattr(fetch, "_runs", lambda *_: {0: types.SimpleNamespace(run_id="a" * 32)})
    monkeypatch.setattr(Home, "tracking_server", property(lambda _: "http://host"))
    seen = dataclasses.replace(study.view, origin=StudyHome("other", "host", "/home"), folder=home.study("s"))
    return home, seen, files


def _publish(files: _Files, n_epochs: int, state: str) -> None:
    path = files.root / "events.jsonl"
    path.unlink(missing_ok=True)
    events.append(path, Started(1.0, 1, 0, 1, 10, {}, {}))
    for epoch in range(1, n_epochs + 1):
        events.append(path, EpochEnded(1.0 + epoch, epoch, {"val_accuracy": 0.5}, 1.0, epoch, 0.5))
    events.append(path, AttemptEnded(9.0, state))
    (files.root / "checkpoints" / "best.keras").write_text(f"model of epoch {n_epochs}")


def test_what_was_fetched_of_an_unfinished_trial_is_fetched_again(elsewhere: tuple[Home, StudyView, _Files]) -> None:
    home, seen, files = elsewhere
    _publish(files, 2, "WAITING")
    fetch.fetch(home, seen, [0], with_model=True)
    folder = seen.folder.trial(0)
    assert folder.best.read_text() == "model of epoch 2"

    _publish(files, 8, "COMPLETE")
    fetch.fetch(home, seen, [0])
    assert len(events.epochs(events.read(folder.events))) == 8
    assert not folder.best.exists(), "the model of epoch 2 must not be taken for that of the result"
    fetch.fetch(home, seen, [0], with_model=True)
    assert folder.best.read_text() == "model of epoch 8"

    n_downloads = files.n_downloads
    fetch.fetch(home, seen, [0], with_model=True)
    assert files.n_downloads == n_downloads, "a finished trial is fetched once"


def test_a_model_that_was_fetched_in_part_is_fetched_again(
    elsewhere: tuple[Home, StudyView, _Files], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, seen, files = elsewhere
    _publish(files, 8, "COMPLETE")
    (files.root / "checkpoints" / "held_out.npz").write_text("probabilities")
    fetch.fetch(home, seen, [0])
    download = files.download_artifacts

    def fail(run: str, path: str, to: str) -> str:
        if path.endswith("held_out.npz"):
            raise OSError("connection reset")
        return download(run, path, to)

    with monkeypatch.context() as context:
        context.setattr(files, "download_artifacts", fail)
        with pytest.raises(StudyError, match="cannot be read from MLflow's server"):
            fetch.fetch(home, seen, [0], with_model=True)
    fetch.fetch(home, seen, [0], with_model=True)
    folder = seen.folder.trial(0)
    assert (folder.best.read_text(), folder.held_out.read_text()) == ("model of epoch 8", "probabilities")
