"""Several homes use one MLflow server: none changes or deletes the runs of another."""

import json
import shutil
from pathlib import Path

import pytest

from rnnexp.health import runs as runs_check
from rnnexp.health.studies import Observation
from rnnexp.home import Home
from rnnexp.storage.views import view
from rnnexp.tracking import best_model
from rnnexp.tracking.projection import Projection
from rnnexp.trial.cursor import Cursor
from tests.tracking import studies

pytestmark = pytest.mark.integration  # each test creates a database of MLflow


def _two_homes(root: Path) -> tuple[Home, Home]:
    return Home.open(root / "a"), Home.open(root / "b")


def _repair_runs(home: Home) -> list[str]:
    """Repairs what the check of the runs finds; returns what it found."""
    found = list(runs_check.check(Observation(home)))
    for finding in found:
        assert finding.fix is not None
        finding.fix()
    return [finding.what for finding in found]


def test_studies_with_the_same_name_and_identity_have_their_own_runs(on_server: str, tmp_path: Path) -> None:
    """Studies of early versions have their name as identity."""
    for home, accuracy in zip(_two_homes(tmp_path), (0.6, 0.7), strict=True):
        studies.finish_trial(home, "same", accuracy)
        Projection.open(home, "same", "same").replay(0)
    assert studies.accuracies(on_server, "same") == [0.6, 0.7]


def test_a_copied_home_sends_its_trials_as_runs_of_its_own(on_server: str, tmp_path: Path) -> None:
    original, copy = _two_homes(tmp_path)
    studies.finish_trial(original, "copied", 0.6)
    first = studies.send(original, "copied")
    shutil.copytree(original.root, copy.root)
    studies.finish_trial(copy, "copied", 0.9)
    assert [studies.send(copy, "copied", number) for number in (0, 1)] != [first, None]
    assert studies.accuracies(on_server, "copied") == [0.6, 0.6, 0.9]
    studies.finish_trial(original, "copied", 0.7)
    second = studies.send(original, "copied", 1)
    assert studies.send(original, "copied") == first, "the original keeps its run"
    assert studies.runs(on_server, "copied")[second].data.metrics["val_accuracy"] == 0.7
    assert studies.accuracies(on_server, "copied") == [0.6, 0.6, 0.7, 0.9]


def test_the_repair_of_a_copied_home_leaves_the_runs_of_the_original(on_server: str, tmp_path: Path) -> None:
    original, copy = _two_homes(tmp_path)
    studies.finish_trial(original, "repaired", 0.6)
    studies.send(original, "repaired")
    shutil.copytree(original.root, copy.root)
    studies.finish_trial(original, "repaired", 0.7)
    studies.send(original, "repaired", 1)
    before = {run_id: run.data.to_dictionary() for run_id, run in studies.runs(on_server, "repaired").items()}
    _repair_runs(copy)
    after = {run_id: run.data.to_dictionary() for run_id, run in studies.runs(on_server, "repaired").items()}
    assert {run_id: after.get(run_id) for run_id in before} == before
    assert _repair_runs(original) == []


def test_resending_a_copied_trial_does_not_take_the_run_of_the_original(on_server: str, tmp_path: Path) -> None:
    original, copy = _two_homes(tmp_path)
    studies.finish_trial(original, "resent", 0.6)
    first = studies.send(original, "resent")
    shutil.copytree(original.root, copy.root)
    second = Projection.open(copy, "resent", studies.identity(copy, "resent")).resend(0)
    assert second != first
    assert set(studies.runs(on_server, "resent")) == {first, second}
    # If the cursor is lost, too, the tags decide.
    copy.study("resent").trial(0).tracking.unlink()
    assert studies.send(copy, "resent") == second


def test_a_moved_home_keeps_its_runs(on_server: str, tmp_path: Path) -> None:
    home, moved = _two_homes(tmp_path)
    studies.finish_trial(home, "moved", 0.6)
    first = studies.send(home, "moved")
    home.root.rename(moved.root)
    assert studies.send(moved, "moved") == first
    assert Projection.open(moved, "moved", studies.identity(moved, "moved")).resend(0) == first
    assert len(studies.runs(on_server, "moved")) == 1


def _make_old(home: Home, name: str, address: str, *, with_cursor: bool = True) -> str:
    """Turns a home into one that an earlier version has written; returns the trial's run."""
    cursor = Cursor.load(home.study(name).trial(0).tracking)
    assert cursor.run_id is not None
    if "rnnexp.home" in studies.runs(address, name)[cursor.run_id].data.tags:
        studies.client(address).delete_tag(cursor.run_id, "rnnexp.home")
    home.id_file.unlink(missing_ok=True)
    path = home.study(name).trial(0).tracking
    path.write_text(json.dumps({"run_id": cursor.run_id, "sent": cursor.sent, "store": address}))
    if not with_cursor:
        path.unlink()
    return cursor.run_id


@pytest.mark.parametrize("with_cursor", [True, False])
def test_runs_of_an_earlier_version_are_found_and_get_the_tag(
    on_server: str, tmp_path: Path, with_cursor: bool
) -> None:
    home, name = Home.open(tmp_path / "a"), f"old-{with_cursor}".lower()
    studies.finish_trial(home, name, 0.6)
    studies.send(home, name)
    first = _make_old(home, name, on_server, with_cursor=with_cursor)
    if with_cursor:
        assert list(runs_check.check(Observation(home))) == [], "the check finds the run and writes nothing"
    assert studies.send(home, name) == first
    assert studies.runs(on_server, name)[first].data.tags["rnnexp.home"]
    assert len(studies.runs(on_server, name)) == 1


def test_of_two_copies_that_an_earlier_version_made_the_first_one_gets_the_runs(on_server: str, tmp_path: Path) -> None:
    original, copy = _two_homes(tmp_path)
    studies.finish_trial(original, "early-copy", 0.6)
    studies.send(original, "early-copy")
    first = _make_old(original, "early-copy", on_server)
    shutil.copytree(original.root, copy.root)
    assert studies.send(original, "early-copy") == first
    assert studies.send(copy, "early-copy") != first
    assert len(studies.runs(on_server, "early-copy")) == 2


def test_an_old_study_whose_identity_is_its_name_is_found_by_its_cursor(on_server: str, tmp_path: Path) -> None:
    old, other = _two_homes(tmp_path)
    studies.finish_trial(old, "by-name", 0.6)
    Projection.open(old, "by-name", "by-name").replay(0)
    first = _make_old(old, "by-name", on_server)
    studies.finish_trial(other, "by-name", 0.7)
    second = Projection.open(other, "by-name", "by-name").replay(0)
    assert second != first
    assert Projection.open(old, "by-name", "by-name").replay(0) == first
    assert studies.accuracies(on_server, "by-name") == [0.6, 0.7]


def test_a_copied_home_keeps_the_runs_of_its_own_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    original, copy = _two_homes(tmp_path)
    studies.finish_trial(original, "local", 0.6)
    first = studies.send(original, "local")
    shutil.copytree(original.root, copy.root)
    shutil.rmtree(original.root)
    original.root.mkdir()
    (original.root / "home.json").write_bytes((copy.root / "home.json").read_bytes())  # a copy, not a moved home
    from rnnexp.health import moved

    for finding in moved.check(Observation(copy)):
        assert finding.fix is not None
        finding.fix()
    assert [finding.what for finding in runs_check.check(Observation(copy))] == []
    copy.study("local").trial(0).tracking.unlink()
    assert studies.send(copy, "local") == first
    assert len(studies.runs(copy.mlflow_uri, "local")) == 1


def test_a_home_that_lost_its_identity_keeps_the_runs_of_its_own_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    home = Home.open(tmp_path / "home")
    studies.finish_trial(home, "lost", 0.6)
    first = studies.send(home, "lost")
    home.id_file.unlink()
    assert [finding.what for finding in runs_check.check(Observation(home))] == []
    assert Projection.open(home, "lost", studies.identity(home, "lost")).resend(0) == first
    assert [finding.what for finding in runs_check.check(Observation(home))] == []


def test_credentials_in_a_cursor_of_an_earlier_version_are_removed(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    studies.finish_trial(home, "secret", 0.6)
    path = home.study("secret").trial(0).tracking
    path.write_text(json.dumps({"run_id": "a", "sent": 1, "store": "http://me:secret-word@host:5000"}))
    assert Cursor.load(path) == Cursor("a", 1, "http://host:5000")
    assert len(_repair_runs(home)) == 1
    assert "secret-word" not in path.read_text()
    assert Cursor.load(path) == Cursor("a", 1, "http://host:5000")


def test_the_alias_of_another_home_is_not_taken(on_server: str, tmp_path: Path) -> None:
    first, second = _two_homes(tmp_path)
    bundle = studies.a_bundle(tmp_path)

    def record(home: Home) -> str | None:
        return studies.record(home, "aliased", bundle)

    for home, accuracy in ((first, 0.6), (second, 0.7)):
        studies.finish_trial(home, "aliased", accuracy)
        studies.send(home, "aliased")
    client = studies.client(on_server)
    assert record(first) is None
    assert best_model.is_logged(first, view(first, "aliased"))
    assert not best_model.is_logged(second, view(second, "aliased"))
    note = record(second)
    assert note is not None
    assert "points to version 1" in note
    assert str(client.get_model_version_by_alias("aliased", "best").version) == "1"
    assert best_model.is_logged(second, view(second, "aliased")), "it is not logged again at each start"
    assert best_model.is_logged(first, view(first, "aliased"))
    aliases = client.get_registered_model("aliased").aliases
    own = next(alias for alias in aliases if alias != "best")
    assert own in note
    assert str(aliases[own]) == "2"
    studies.finish_trial(first, "aliased", 0.8)
    studies.send(first, "aliased", 1)
    assert record(first) is None, "the home's own alias moves"
    assert str(client.get_model_version_by_alias("aliased", "best").version) == "3"
