"""Trials that are paused, resume, and are pruned when the budget is done."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rnnexp.health import history, trials
from rnnexp.health.studies import Observation
from rnnexp.storage import database
from rnnexp.storage.metadata import PAUSED
from rnnexp.storage.rebuild import rebuild
from rnnexp.storage.store import StudyStore
from rnnexp.trial import events
from rnnexp.trial.events import AttemptEnded, Finished
from rnnexp.trial.job import TrialJob
from rnnexp.trial.states import State
from tests.study.fakes import FakeExecutor
from tests.study.small_study import SWEEP, Study

pytestmark = pytest.mark.integration  # each test runs several studies

PAUSING = (
    SWEEP.replace("trials: 4", "trials: 8").replace("epochs: 3", "epochs: 8")
    + "pruner: {name: successive_halving, pause: true, min_resource: 2, reduction_factor: 2}\n"
)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return new_study(tmp_path)


def new_study(root: Path, text: str = PAUSING) -> Study:
    study = Study(root)
    study.file.write_text(text)
    return study


def rising(job: TrialJob, epoch: int) -> float:
    """A later trial is better, so that each trial is admitted when it reaches a rung after the first."""
    return 0.1 + 0.05 * job.number + 0.001 * epoch


def falling(job: TrialJob, epoch: int) -> float:
    """An earlier trial is better, so that it is admitted when another has reached its rung."""
    return 0.9 - 0.05 * job.number + 0.001 * epoch


def executor(accuracy: Callable[[TrialJob, int], float] = falling, n_slots: int = 1) -> FakeExecutor:
    return FakeExecutor(n_slots=n_slots, accuracy=accuracy)


def curve_lengths(study: Study) -> list[int]:
    folder = study.home.study("s")
    return [len(events.epochs(events.read(folder.trial(row.number).events))) for row in study.view.trials]


def outcome(study: Study) -> list[tuple[Any, ...]]:
    """Returns what must not depend on interruptions."""
    rows = [(row.settings, row.state, row.value, row.best_epoch, row.reason) for row in study.view.trials]
    return [(*row, length) for row, length in zip(rows, curve_lengths(study), strict=True)]


def test_trials_that_their_rung_does_not_admit_are_paused_and_pruned_at_the_end(study: Study) -> None:
    study.run(executor())
    assert curve_lengths(study) == [8, 8, 4, 4, 2, 2, 2, 2], "half of the eight reach epoch 4, half of those epoch 8"
    assert study.states() == [State.COMPLETE] * 2 + [State.PRUNED] * 6
    row = study.view.trials[2]
    assert (row.reason, row.best_epoch) == ("pruned after epoch 4, 3rd of 4 in its rung", 4)
    assert row.value == pytest.approx(0.804)
    assert study.view.trials[7].reason == "pruned after epoch 2, 8th of 8 in its rung"
    ends = [(number, reason) for number, state, reason in study.reporter.ends if state is State.WAITING]
    assert ends[0] == (0, "paused after epoch 2, 1st of 1 in its rung")
    assert (7, "paused after epoch 2, 8th of 8 in its rung") in ends
    assert study.reporter.ends[-1][1:] == (State.PRUNED, "pruned after epoch 2, 8th of 8 in its rung")


def test_a_paused_trial_resumes_before_a_new_one_starts_when_its_rung_admits_it(study: Study) -> None:
    executed = executor()
    study.run(executed)
    numbers = [job.number for job in executed.submitted]
    assert numbers[:3] == [0, 1, 0], "with two trials in the rung, it admits the better one"
    assert [job.attempt for job in executed.submitted if job.number == 0] == [1, 2, 3]


def test_a_trial_that_its_rung_admits_is_not_paused(study: Study) -> None:
    executed = executor(rising)
    study.run(executed)
    assert [job.number for job in executed.submitted] == list(range(8)), "each has one attempt"
    assert curve_lengths(study) == [2, 4, *[8] * 6], "at each rung, a rung of one trial admits none"
    assert study.states()[-1] is State.COMPLETE


def test_the_best_trial_of_a_study_is_complete(study: Study) -> None:
    for n_trials in (1, 2, 3):
        each = new_study(study.home.root.parent / str(n_trials))
        each.run(executor(), budget__trials=n_trials)
        assert each.view.best is not None
        assert each.view.best.state is State.COMPLETE, f"of {n_trials} trials"


def test_hyperband_pauses_too(study: Study) -> None:
    text = PAUSING.replace("successive_halving", "hyperband").replace("min_resource: 2", "min_resource: 1")
    study.file.write_text(text)
    study.run(executor(n_slots=2), budget__trials=20)
    assert any("paused" in reason for _, _, reason in study.reporter.ends)
    assert {State.COMPLETE, State.PRUNED} == set(study.states())


def test_without_pause_the_same_pruner_prunes_at_once(study: Study) -> None:
    study.file.write_text(PAUSING.replace("pause: true, ", ""))
    executed = executor()
    study.run(executed)
    assert State.PRUNED in study.states()
    assert not any("paused" in reason for _, _, reason in study.reporter.ends)
    assert len(executed.submitted) == 8


def test_a_paused_trial_is_waiting_with_its_files_and_gives_up_its_slot(study: Study) -> None:
    executed = executor(n_slots=1)
    seen: list[tuple[str, ...]] = []

    def look(number: int, epoch: int) -> None:
        if (number, epoch) == (1, 1):
            row, folder = study.view.trials[0], study.home.study("s").trial(0)
            seen.append((row.state, row.reason or ""))
            assert folder.state.exists()
            assert folder.best.exists()
            assert row.is_paused
            assert (row.value, row.best_epoch, row.attempts) == (pytest.approx(0.902), 2, 1)

    executed.on_epoch = look
    study.run(executed)
    assert seen == [("WAITING", "paused after epoch 2, 1st of 1 in its rung")]
    assert executed.most_at_once == 1


def test_models_of_paused_trials_are_not_removed_although_others_are_better(study: Study) -> None:
    executed, missing = executor(n_slots=1), list[int]()

    def look(number: int, epoch: int) -> None:
        folder = study.home.study("s")
        paused = [row.number for row in study.view.trials if row.is_paused]
        missing.extend(number for number in paused if not folder.trial(number).best.exists())

    executed.on_epoch = look
    study.run(executed, keep__checkpoints=1)
    assert missing == []
    kept = [row.number for row in study.view.trials if study.home.study("s").trial(row.number).best.exists()]
    assert kept == [0, 7], "the best one, and the one that ended last"
    assert not any(study.home.study("s").trial(row.number).state.exists() for row in study.view.trials)


def test_a_pause_uses_no_retry(study: Study) -> None:
    executed = executor()
    executed.n_crashes = {0: [3]}
    study.run(executed, limits__retries=1)
    assert study.states()[0] is State.COMPLETE


def test_a_crash_after_the_pause_was_written_is_a_pause(study: Study) -> None:
    executed = executor()
    exit_, seen = executed._exit, list[int]()

    def crash(number: int, code: int) -> None:
        ends_paused = isinstance(events.read(study.home.study("s").trial(number).events)[-1], events.Paused)
        seen.append(ends_paused)
        exit_(number, -9 if ends_paused else code)

    executed._exit = crash  # type: ignore[method-assign]
    study.run(executed, limits__retries=0)
    assert any(seen)
    assert State.FAIL not in study.states()


def request_stop(study: Study, number: int) -> None:
    study.home.study("s").stop_requests.mkdir(parents=True, exist_ok=True)
    (study.home.study("s").stop_requests / str(number)).touch()


def test_a_paused_trial_can_be_stopped(study: Study) -> None:
    executed = executor(rising)
    executed.on_epoch = lambda number, epoch: request_stop(study, 0) if (number, epoch) == (1, 1) else None
    study.run(executed)
    row, folder = study.view.trials[0], study.home.study("s").trial(0)
    assert (row.state, row.reason, row.best_epoch, row.attempts) == (State.PRUNED, "stopped by hand", 2, 1)
    assert [event.ended for event in events.read(folder.events) if isinstance(event, Finished)] == ["stopped"]
    assert not folder.state.exists()


def test_a_stop_request_after_the_answer_to_pause_stops_the_trial(study: Study) -> None:
    executed = executor()
    pause, poll = executed._pause, executed.poll

    def pause_and_request(number: int) -> None:
        request_stop(study, number)
        pause(number)

    def poll_one_message_late(timeout_s: float) -> Any:
        return poll(timeout_s)

    executed._pause = pause_and_request  # type: ignore[method-assign]
    executed.poll = poll_one_message_late  # type: ignore[method-assign]
    study.run(executed, budget__trials=2)
    assert (study.states()[0], study.view.trials[0].reason) == (State.PRUNED, "stopped by hand")


@pytest.mark.parametrize("name", ["best", "held_out"])
def test_a_paused_trial_whose_model_is_lost_is_trained_again_before_it_is_pruned(study: Study, name: str) -> None:
    study.run(executor(), signals={(4, 1): signal.SIGINT})
    assert study.view.trials[2].is_paused
    path = getattr(study.home.study("s").trial(2), name)
    path.unlink()
    executed = executor()
    study.run(executed)
    row = study.view.trials[2]
    assert (row.state, row.reason) == (State.PRUNED, "pruned after epoch 4, 3rd of 4 in its rung")
    assert path.exists()


def test_a_report_that_a_power_loss_has_removed_counts_again_after_the_start(study: Study) -> None:
    whole = new_study(study.home.root.parent / "whole")
    whole.run(executor(rising))
    study.run(executor(rising), signals={(1, 3): signal.SIGINT})
    with database.open_storage(study.home).engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM trial_intermediate_values WHERE trial_id = 2 AND step = 2")
    database.open_storage.cache_clear()
    study.run(executor(rising))
    assert outcome(study) == outcome(whole)


def test_a_wider_search_space_keeps_the_paused_trials(study: Study) -> None:
    study.run(executor(), signals={(3, 1): signal.SIGINT})
    before = study.view.trials
    assert any(row.is_paused for row in before)
    study.file.write_text(PAUSING.replace("[8, 64]", "[8, 96]"))
    study.run(executor())
    assert [row.settings for row in study.view.trials[: len(before)]] == [row.settings for row in before]
    assert study.view.n_finished == 8


def test_a_larger_budget_leaves_the_pruned_trials_as_they_are(study: Study) -> None:
    study.run(executor())
    before = outcome(study)
    study.run(executor(), budget__trials=12)
    assert outcome(study)[:8] == before
    assert study.view.n_finished == 12


def test_a_rebuilt_study_remembers_its_paused_trials(study: Study) -> None:
    whole = new_study(study.home.root.parent / "whole")
    whole.run(executor())
    config = study.config()
    study.run(executor(), signals={(5, 1): signal.SIGINT})
    before = [(row.state, row.reason) for row in study.view.trials]
    study.home.study("s").sweep.write_text(config.to_yaml())
    database.delete_study(study.home, "s")
    assert rebuild(study.home, "s", None) == len(before)
    assert [(row.state, row.reason) for row in study.view.trials] == before
    study.run(executor())
    assert outcome(study) == outcome(whole)


def test_doctor_finds_nothing_wrong_with_paused_trials(study: Study) -> None:
    study.run(executor(), signals={(5, 1): signal.SIGINT})
    assert any(row.is_paused for row in study.view.trials)
    assert [finding.what for finding in trials.check(Observation(study.home))] == []
    study.run(executor())
    assert [finding.what for finding in trials.check(Observation(study.home))] == []
    assert not [
        history.missing(snapshot) for snapshot in Observation(study.home).trials("s") if history.missing(snapshot)
    ]


@pytest.mark.parametrize("by", ["the next start", "doctor"])
def test_the_pause_of_a_supervisor_that_died_is_closed(study: Study, by: str) -> None:
    study.run(executor(), signals={(2, 1): signal.SIGINT})
    folder = study.home.study("s").trial(1)
    reason = study.view.trials[1].reason
    assert study.view.trials[1].is_paused
    lines = folder.events.read_text().splitlines(keepends=True)
    folder.events.write_text("".join(lines[:-1]))
    if by == "doctor":
        (finding,) = trials.check(Observation(study.home))
        assert finding.what == "it is paused in Optuna, but its events have no closing event"
        assert finding.fix is not None
        assert finding.fix() == "the closing event is added"
    else:
        study.run(executor(), budget__timeout_s=1e-9)
    closed = events.read(folder.events)[-1]
    assert isinstance(closed, AttemptEnded)
    assert (closed.state, closed.reason) == ("WAITING", reason)


def test_the_progress_counts_paused_trials_apart(study: Study) -> None:
    study.run(executor())
    assert max(snapshot.n_paused for snapshot in study.reporter.snapshots) > 2
    assert all(snapshot.n_finished + snapshot.n_paused <= 8 for snapshot in study.reporter.snapshots)


def test_a_study_of_an_earlier_version_resumes(study: Study) -> None:
    """Its definition has no `pause`."""
    text = PAUSING.replace("pause: true, ", "")
    study.file.write_text(text)
    study.run(executor(), budget__trials=3)
    in_optuna = database.load_study(study.home, "s")
    definition = in_optuna.user_attrs["rnnexp:definition"]
    del definition["pruner"]["pause"]
    in_optuna.set_user_attr("rnnexp:definition", definition)
    study.run(executor())
    assert study.view.n_finished == 8


def test_a_restart_finds_the_paused_trials_in_the_store(study: Study) -> None:
    study.run(executor(), signals={(3, 1): signal.SIGINT})
    store = StudyStore.open(study.home, study.config(), "digest")
    paused = [row.number for row in study.view.trials if row.is_paused]
    assert sorted(store.paused.reasons) == paused
    marked = database.load_study(study.home, "s").get_trials()
    assert [trial.number for trial in marked if trial.user_attrs.get(PAUSED)] == paused
    assert store.next_waiting() == 3, "the trial that was interrupted is first"
