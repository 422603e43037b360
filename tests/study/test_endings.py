"""Trials that diverge, and results whose model is lost before they are recorded."""

import json
import signal
import time
from pathlib import Path

import optuna
import pytest

from rnnexp.cli import main
from rnnexp.health import files, history, trials
from rnnexp.health.studies import Observation
from rnnexp.home import StudyFolder
from rnnexp.storage import database
from rnnexp.storage.rebuild import rebuild
from rnnexp.study.records import TrialRecords
from rnnexp.trial import events
from rnnexp.trial.checkpoint import model_fault
from rnnexp.trial.events import Finished
from rnnexp.trial.states import State
from tests.study.fakes import FakeExecutor, write_model
from tests.study.small_study import Study


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


def test_trials_that_diverge_in_their_first_epoch_do_not_end_the_sweep(study: Study) -> None:
    executor = FakeExecutor(n_slots=1)
    executor.failures = dict.fromkeys(range(8), ("diverged", "diverged at epoch 1: loss is nan"))
    outcome = study.run(executor, budget__trials=10, limits__consecutive_failures=2)
    assert not outcome.halt_reason
    assert study.states() == [State.PRUNED] * 8 + [State.COMPLETE] * 2
    in_optuna = database.load_study(study.home, "s").get_trials()
    assert [(trial.value, trial.intermediate_values) for trial in in_optuna[:8]] == [(None, {})] * 8
    assert study.view.best is not None
    assert study.view.best.number >= 8


def test_tpe_avoids_the_settings_of_trials_that_diverged_in_their_first_epoch() -> None:
    """Where large values diverge, TPE suggests small ones; it would ignore trials that are FAIL."""
    shares = {}
    for state in (optuna.trial.TrialState.PRUNED, optuna.trial.TrialState.FAIL):
        drawn = []
        for seed in range(10):
            sampled = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=5))
            for place in range(20):
                trial = sampled.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
                if trial.params["x"] > 0.5:
                    sampled.tell(trial, state=state)
                else:
                    sampled.tell(trial, 1.0)
                if place >= 10:
                    drawn.append(trial.params["x"] > 0.5)
        shares[state] = sum(drawn) / len(drawn)
    assert shares[optuna.trial.TrialState.PRUNED] < 0.7 * shares[optuna.trial.TrialState.FAIL]


def test_a_trial_that_diverges_later_is_complete_with_its_best_epoch(study: Study) -> None:
    executor = FakeExecutor()
    executor.diverges = {0: 3}
    study.run(executor)
    row = study.view.trials[0]
    assert (row.state, row.best_epoch) == (State.COMPLETE, 2)
    assert row.value == pytest.approx(0.52)
    assert row.reason == "diverged at epoch 3: loss is nan; the result is epoch 2"
    assert study.home.study("s").trial(0).best.exists()
    assert (0, State.COMPLETE, row.reason) in study.reporter.ends


def test_a_result_whose_model_cannot_be_read_is_computed_again(tmp_path: Path) -> None:
    records, notes = TrialRecords(StudyFolder(tmp_path)), list[str]()
    records.append(0, Finished(time.time(), "epochs", 1, {"val_accuracy": 0.5}, 10, 0.1))
    write_model(records.folder.trial(0))
    assert records.pending_result(0, notes.append) is not None
    records.folder.trial(0).best.unlink()
    records.folder.trial(0).best.mkdir()
    assert records.pending_result(0, notes.append) is None
    (note,) = notes
    assert note.startswith("trial 0 had finished, but its model cannot be read (Is a directory); it is trained again")


@pytest.mark.parametrize("name", ["best", "held_out"])
@pytest.mark.parametrize("is_missing", [False, True])
def test_a_result_whose_model_is_damaged_is_computed_again(study: Study, name: str, is_missing: bool) -> None:
    """The trial's result was written, but the supervisor died before it told Optuna."""
    executor = FakeExecutor(n_slots=1)
    undisturbed = Study(study.home.root.parent / "undisturbed")
    undisturbed.run(FakeExecutor(n_slots=1))
    study.run(executor, signals={(1, 2): signal.SIGINT})
    folder = study.home.study("s").trial(1)
    lines = folder.events.read_text().splitlines(keepends=True)
    folder.events.write_text("".join(line for line in lines if '"attempt_ended"' not in line))
    curve = events.epochs(events.read(folder.events))
    result = Finished(time.time(), "epochs", 3, curve[-1].metrics, 10, 0.3)
    events.append(folder.events, result)
    write_model(folder)
    path = getattr(folder, name)
    if is_missing:
        path.unlink()
    else:
        content = bytearray(path.read_bytes())
        content[content.index(b"weights")] ^= 1
        path.write_bytes(content)
    again = FakeExecutor(n_slots=1)
    study.run(again)
    assert again.submitted[0].number == 1
    assert not model_fault(folder)
    assert f"trial 1 had finished, but {path.name} is {'missing' if is_missing else 'damaged'}" in " ".join(
        study.reporter.notes
    )
    assert [(row.value, row.best_epoch) for row in study.view.trials] == [
        (row.value, row.best_epoch) for row in undisturbed.view.trials
    ]
    n_results = sum(isinstance(event, Finished) for event in events.read(folder.events))
    assert n_results == 2


def test_a_result_with_an_intact_model_is_taken_as_it_is(study: Study) -> None:
    study.run(FakeExecutor(n_slots=1), signals={(1, 2): signal.SIGINT})
    folder = study.home.study("s").trial(1)
    lines = folder.events.read_text().splitlines(keepends=True)
    folder.events.write_text("".join(line for line in lines if '"attempt_ended"' not in line))
    curve = events.epochs(events.read(folder.events))
    events.append(folder.events, Finished(time.time(), "epochs", 3, curve[-1].metrics, 10, 0.3))
    write_model(folder)
    again = FakeExecutor(n_slots=1)
    study.run(again)
    assert 1 not in [job.number for job in again.submitted]
    assert study.states() == [State.COMPLETE] * 4


@pytest.fixture
def ended(study: Study) -> Study:
    """A study of a trial that diverged at its third epoch, one that diverged at its first, and two normal ones."""
    executor = FakeExecutor(n_slots=1)
    executor.diverges = {0: 3}
    executor.failures = {1: ("diverged", "diverged at epoch 1: loss is nan")}
    study.run(executor)
    return study


def test_a_rebuilt_database_has_the_same_endings(ended: Study) -> None:
    home, before = ended.home, ended.view.trials
    home.study("s").sweep.write_text(ended.config().to_yaml())
    database.open_storage.cache_clear()
    for path in home.root.glob("optuna.db*"):
        path.unlink()
    assert rebuild(home, "s", None) == 4
    after = ended.view.trials
    database.open_storage.cache_clear()
    assert [(row.state, row.value, row.best_epoch, row.reason) for row in after] == [
        (row.state, row.value, row.best_epoch, row.reason) for row in before
    ]
    assert after[0].reason is not None
    assert (after[1].state, after[1].value) == (State.PRUNED, None)


def test_the_doctor_finds_no_fault_in_these_endings(ended: Study) -> None:
    assert [history.missing(snapshot) for snapshot in Observation(ended.home).trials("s")] == [""] * 4
    assert list(trials.check(Observation(ended.home))) == []
    assert list(files.check(Observation(ended.home))) == []


def test_a_lost_result_of_a_trial_that_diverged_is_restored(ended: Study) -> None:
    folder = ended.home.study("s").trial(0)
    before = events.read(folder.events)
    folder.events.write_text(
        "".join(f"{events.encode(event)}\n" for event in before if not isinstance(event, Finished))
    )
    snapshot = Observation(ended.home).trials("s")[0]
    assert history.missing(snapshot) == "its result"
    restored = history.restored(snapshot, history.MlflowHistory(ended.home))
    assert restored is not None
    assert [type(event) for event in restored] == [type(event) for event in before]
    (old,), (new,) = ([event for event in each if isinstance(event, Finished)] for each in (before, restored))
    assert (new.ended, new.reason, new.metrics) == (old.ended, old.reason, old.metrics)


def test_the_lists_and_the_report_show_these_endings(ended: Study, capsys: pytest.CaptureFixture[str]) -> None:
    home = str(ended.home.root)
    assert main(["trials", "s", "--json", "--home", home]) == 0
    rows = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert [row["reason"] for row in rows[:2]] == [
        "diverged at epoch 3: loss is nan; the result is epoch 2",
        "diverged at epoch 1: loss is nan",
    ]
    assert (rows[1]["value"], rows[1]["best_epoch"], rows[1]["metrics"]) == (None, None, {})
    for command in (["trials", "s"], ["show", "s", "0"], ["show", "s", "1"], ["compare", "s"]):
        assert main([*command, "--home", home]) == 0
        assert command[0] == "compare" or "diverged at epoch" in capsys.readouterr().out
    page = ended.home.root / "page.html"
    assert main(["compare", "s", "--html", str(page), "--home", home]) == 0
    assert "diverged at epoch 1: loss is nan" in page.read_text(encoding="utf-8")
