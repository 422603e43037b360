"""Folders that Optuna does not know are not taken for results of a new study."""

from pathlib import Path

import pytest

from rnnexp.errors import StudyError
from rnnexp.health import unknown
from rnnexp.health.studies import Observation
from rnnexp.home import Home
from rnnexp.storage import bulk_reader, database
from rnnexp.storage.store import StudyStore
from rnnexp.storage.views import view
from rnnexp.study.records import TrialRecords, pending_result
from rnnexp.trial import events
from rnnexp.trial.events import AttemptEnded, Finished, Started
from tests.tracking import studies


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Home.open(tmp_path / "home")


def _lose_optuna(home: Home) -> None:
    for path in home.root.glob("optuna.db*"):
        path.unlink()
    database.open_storage.cache_clear()


def _interrupt(home: Home, name: str) -> None:
    """Removes the closing event, as if the supervisor had died before it processed the result."""
    path = home.study(name).trial(0).events
    kept = [event for event in events.read(path) if not isinstance(event, AttemptEnded)]
    path.write_text("".join(f"{events.encode(event)}\n" for event in kept))


def test_a_new_study_over_existing_folders_is_refused(home: Home) -> None:
    studies.finish_trial(home, "s", 0.6)
    _interrupt(home, "s")
    before = home.study("s").trial(0).events.read_bytes()
    _lose_optuna(home)
    with pytest.raises(StudyError) as refused:
        studies.finish_trial(home, "s", 0.9)
    for words in ("doctor --repair", "rnnexp delete s", "--study"):
        assert words in str(refused.value)
    assert bulk_reader.study_names(home) == []
    assert home.study("s").trial(0).events.read_bytes() == before
    (finding,) = unknown.check(Observation(home))
    assert finding.fix is not None
    finding.fix()
    assert [row.number for row in view(home, "s").trials] == [0]
    studies.finish_trial(home, "another", 0.9)


def test_a_study_that_lost_its_last_trials_is_refused(home: Home) -> None:
    """For example because an older copy of Optuna's database was restored."""
    studies.finish_trial(home, "s", 0.6)
    older = home.optuna_db.with_suffix(".older")
    database.open_storage(home).engine.dispose()
    import sqlite3

    with sqlite3.connect(home.optuna_db) as source, sqlite3.connect(older) as target:
        source.backup(target)
    source.close()
    target.close()
    studies.finish_trial(home, "s", 0.7)
    _lose_optuna(home)
    older.rename(home.optuna_db)
    with pytest.raises(StudyError, match="its folder has trial 1, but Optuna knows only 1 trials"):
        studies.finish_trial(home, "s", 0.9)


@pytest.mark.parametrize(("first", "second"), [("imdb", "IMDB"), ("Small", "small")])
def test_a_name_that_differs_only_by_case_is_refused(home: Home, first: str, second: str) -> None:
    studies.finish_trial(home, first, 0.6)
    with pytest.raises(StudyError, match=f"study {first} exists"):
        studies.finish_trial(home, second, 0.6)
    _lose_optuna(home)
    with pytest.raises(StudyError, match=f"study {first} exists"):
        studies.finish_trial(home, second, 0.6)


def test_names_in_an_older_home_may_differ_only_by_case(home: Home) -> None:
    studies.finish_trial(home, "imdb", 0.6)
    database.create_or_load_study(database.open_storage(home), studies.config("IMDB"))
    studies.finish_trial(home, "IMDB", 0.6)
    studies.finish_trial(home, "imdb", 0.6)


@pytest.mark.parametrize("name", ["Default", "default"])
def test_the_name_of_mlflows_default_experiment_is_refused(home: Home, name: str) -> None:
    with pytest.raises(StudyError, match="choose another name with --study"):
        studies.finish_trial(home, name, 0.6)


def _add_result(home: Home, identity: str) -> TrialRecords:
    folder = home.study("s").trial(0)
    events.append(folder.events, Started(1.0, 1, 0, 1, 10, studies.DATA, {}, identity))
    events.append(folder.events, Finished(2.0, "epochs", 1, {"val_accuracy": 0.5}, 10, 1.0))
    return TrialRecords(home.study("s"), "one")


@pytest.mark.parametrize("identity", ["one", ""])
def test_a_result_of_the_study_is_replayed(home: Home, identity: str) -> None:
    """Earlier versions wrote no identity."""
    records = _add_result(home, identity)
    assert isinstance(pending_result(records.read(0)), Finished)


def test_a_result_of_another_study_is_not_replayed(home: Home) -> None:
    records = _add_result(home, "two")
    assert records.read(0) == []
    store = StudyStore.open(Home.open(home.root.with_name("other")), studies.config("s"), "digest")
    request = store.ask()
    assert request is not None
    records.create_folder(request)
    assert events.read(home.study("s").trial(0).events) == []
    assert home.study("s").trial(0).config.exists()
    aside = home.study("s").trials / "00000.of-another-study-1"
    assert len(events.read(aside / "events.jsonl")) == 2
    assert home.study("s").numbers() == [0]


def test_a_rebuild_refuses_trials_of_another_study_and_finds_the_identity_in_the_events(home: Home) -> None:
    from rnnexp.storage.rebuild import rebuild

    studies.finish_trial(home, "s", 0.6)
    folder = home.study("s")
    lines = folder.trial(0).events.read_text()
    folder.trial(0).events.write_text(lines.replace('"study": ""', '"study": "recorded"'))
    folder.about.unlink()
    _lose_optuna(home)
    assert rebuild(home, "s", None) == 1
    assert view(home, "s").identity == "recorded"
    _lose_optuna(home)
    folder.trial(0).events.write_text(lines.replace('"study": ""', '"study": "other"'))
    with pytest.raises(StudyError, match="another study has written it"):
        rebuild(home, "s", None)
