"""The supervisor's loop with a real Optuna database and fake trials."""

import signal
from pathlib import Path
from typing import Any

import pytest

from rnnexp.errors import DataError, StudyError
from rnnexp.storage.store import StudyStore
from rnnexp.trial import events
from rnnexp.trial.events import AttemptEnded
from rnnexp.trial.states import State
from tests.study.fakes import FakeExecutor
from tests.study.small_study import SWEEP, Study


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


def test_runs_exactly_the_budget(study: Study) -> None:
    executor = FakeExecutor(n_slots=3)
    outcome = study.run(executor)
    assert outcome.signal is None
    assert study.states() == [State.COMPLETE] * 4
    assert executor.most_at_once == 3
    assert study.sender.notified == {0, 1, 2, 3}
    row = study.view.trials[0]
    assert row.value == pytest.approx(0.53)
    assert (row.best_epoch, row.attempts, row.reason) == (3, 1, None)
    assert row.metrics["val_loss"] == pytest.approx(0.47)
    again = FakeExecutor()
    study.run(again)
    assert again.submitted == []


def test_a_larger_budget_draws_new_settings(study: Study) -> None:
    study.run(FakeExecutor())
    study.run(FakeExecutor(), budget__trials=8)
    rows = study.view.trials
    assert [row.number for row in rows] == list(range(8))
    units = [row.settings["model.units"] for row in rows]
    assert len(set(map(str, (row.settings for row in rows)))) == 8, f"settings are repeated: {units}"


def test_a_resumed_study_draws_the_same_settings_as_an_uninterrupted_one(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    uninterrupted, resumed = Study(tmp_path / "a"), Study(tmp_path / "b")
    uninterrupted.run(FakeExecutor(n_slots=1))
    resumed.run(FakeExecutor(n_slots=1), budget__trials=2)
    resumed.run(FakeExecutor(n_slots=1))
    assert [row.settings for row in uninterrupted.view.trials] == [row.settings for row in resumed.view.trials]


def test_a_setting_whose_condition_is_false_is_neither_drawn_nor_set(study: Study) -> None:
    executor = FakeExecutor()
    study.run(executor, budget__trials=10)
    submitted = sorted(executor.submitted, key=lambda job: job.number)
    for job, row in zip(submitted, study.view.trials, strict=True):
        clipped = row.settings["clip.kind"] == "norm"
        assert ("clip.threshold" in row.settings) == clipped
        assert (job.config.clip.threshold is not None) == clipped
        assert job.config.model.units == row.settings["model.units"]
    assert {row.settings["clip.kind"] for row in study.view.trials} == {"none", "norm"}


def test_a_killed_trial_resumes_under_its_number(study: Study) -> None:
    executor = FakeExecutor()
    executor.n_crashes = {1: [2]}
    study.run(executor)
    assert study.states() == [State.COMPLETE] * 4
    row = study.view.trials[1]
    assert row.attempts == 2
    curve = events.epochs(events.read(study.home.study("s").trial(1).events))
    assert [epoch.epoch for epoch in curve] == [1, 2, 3]
    assert (
        1,
        State.WAITING,
        "its process was killed by SIGKILL; it resumes from its last epoch",
    ) in study.reporter.ends


def test_a_trial_that_always_crashes_fails_after_its_retries(study: Study) -> None:
    executor = FakeExecutor()
    executor.n_crashes = {0: [1, 1, 1, 1, 1]}
    study.run(executor)
    assert study.states() == [State.FAIL, State.COMPLETE, State.COMPLETE, State.COMPLETE]
    row = study.view.trials[0]
    assert row.attempts == 3
    assert row.reason == "its process was killed by SIGKILL, 3 times"
    assert row.value is None


def test_a_trial_that_raises_an_exception_is_not_retried(study: Study) -> None:
    executor = FakeExecutor()
    executor.bugs = {2}
    study.run(executor)
    assert study.states()[2] is State.FAIL
    assert study.view.trials[2].attempts == 1
    assert study.view.trials[2].reason == "ValueError: broken"


def test_a_data_error_fails_only_the_trials_that_have_it(study: Study) -> None:
    def prepare(config: Any) -> Path:
        if config.model.units > 30:
            raise DataError("reviews: too few rows")
        return Path()

    study.prepare = prepare
    study.run(FakeExecutor(), budget__trials=8)
    for row in study.view.trials:
        assert (row.state is State.FAIL) == (row.settings["model.units"] > 30)
    assert any(row.reason == "reviews: too few rows" for row in study.view.trials)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_requeues_running_trials_and_the_next_start_finishes_them(study: Study, number: int) -> None:
    outcome = study.run(FakeExecutor(), signals={(1, 2): number})
    assert outcome.signal == number
    states = study.states()
    assert State.RUNNING not in states
    assert State.WAITING in states
    before = {row.number: row.settings for row in study.view.trials}
    waiting = states.index(State.WAITING)
    closed = [
        event for event in events.read(study.home.study("s").trial(waiting).events) if isinstance(event, AttemptEnded)
    ]
    assert (closed[-1].state, closed[-1].reason) == ("WAITING", "interrupted")

    study.run(FakeExecutor())
    assert study.states() == [State.COMPLETE] * 4
    for number_, settings in before.items():
        assert study.view.trials[number_].settings == settings
    for row in study.view.trials:
        curve = events.epochs(events.read(study.home.study("s").trial(row.number).events))
        assert [epoch.epoch for epoch in curve] == [1, 2, 3]


def test_trials_of_a_dead_supervisor_are_resumed(study: Study) -> None:
    config = study.config()
    dead = StudyStore.open(study.home, config, "digest")
    requests = [dead.ask(), dead.ask()]
    assert study.states() == [State.RUNNING] * 2
    study.run(FakeExecutor())
    assert study.states() == [State.COMPLETE] * 4
    assert [row.settings for row in study.view.trials[:2]] == [request.settings for request in requests if request]
    assert [row.attempts for row in study.view.trials] == [2, 2, 1, 1]
    assert "trial 0 was interrupted; it resumes from its last epoch" in study.reporter.notes


def test_the_record_of_a_finished_trial_is_closed_at_the_next_start(study: Study) -> None:
    study.run(FakeExecutor())
    folder = study.home.study("s").trial(0)
    lines = [line for line in folder.events.read_text().splitlines(keepends=True) if '"closed"' not in line]
    folder.events.write_text("".join(lines))
    study.run(FakeExecutor(), budget__trials=5)
    assert any(isinstance(event, AttemptEnded) and event.state == "COMPLETE" for event in events.read(folder.events))


def test_a_pruned_trial_keeps_its_best_value(study: Study) -> None:
    def accuracy(job: Any, epoch: int) -> float:
        number = job.number
        return 0.9 if number < 2 else 0.6 - 0.01 * epoch

    study.file.write_text(
        SWEEP + "pruner: {name: median, n_startup_trials: 2, n_warmup_steps: 1}\nobjective: {metric: val_accuracy}\n"
    )
    study.run(FakeExecutor(n_slots=1, accuracy=accuracy))
    assert study.states() == [State.COMPLETE, State.COMPLETE, State.PRUNED, State.PRUNED]
    row = study.view.trials[3]
    assert row.reason == "pruned after epoch 2", "the warm-up lasts one epoch"
    assert row.value == pytest.approx(0.59)
    assert row.best_epoch == 1


@pytest.mark.parametrize("name", ["hyperband", "successive_halving"])
def test_the_other_pruners_prune(study: Study, name: str) -> None:
    study.file.write_text(
        SWEEP.replace("trials: 4", "trials: 12").replace("epochs: 3", "epochs: 9")
        + f"pruner: {{name: {name}, reduction_factor: 3}}\n"
    )
    study.run(FakeExecutor(n_slots=1, accuracy=lambda job, epoch: 0.9 - 0.01 * job.number))
    states = study.states()
    assert State.PRUNED in states
    assert states[0] is State.COMPLETE


def test_a_grid_runs_each_point_once_and_then_ends(study: Study) -> None:
    study.file.write_text("""
study: s
sampler: {name: grid}
base: {data: {name: reviews}, train: {epochs: 1}}
try: [{model.units: 16, clip.kind: none}]
space:
  model.units: {choice: [8, 16]}
  clip.kind: {choice: [none, norm]}
  clip.threshold: {choice: [1.0, 5.0], when: {clip.kind: [norm]}}
""")
    study.run(FakeExecutor(n_slots=2))
    points = [tuple(sorted(row.settings.items())) for row in study.view.trials]
    assert len(points) == len(set(points)) == 6
    assert study.view.trials[0].settings == {"model.units": 16, "clip.kind": "none"}


def test_the_settings_of_try_run_first(study: Study) -> None:
    study.file.write_text(SWEEP + "try: [{model.units: 11}, {model.units: 12, clip.kind: none}]\n")
    study.run(FakeExecutor(n_slots=1))
    assert [row.settings["model.units"] for row in study.view.trials[:2]] == [11, 12]


def test_a_trial_that_exceeds_its_memory_or_time_limit_is_killed_and_fails(study: Study) -> None:
    executor = FakeExecutor()
    executor.endless = {0, 1}
    executor.memory = {0: 5 * 2**30}
    study.run(executor, limits__memory_gb=2.0, limits__trial_s=1.5, limits__retries=0)
    reasons = {row.number: row.reason for row in study.view.trials if row.state is State.FAIL}
    assert reasons == {
        0: "exceeded its memory limit of 2 GB (limits.memory_gb): 5.00 GB; "
        "to need less memory, use fewer --workers or a smaller batch_size, units or maxlen",
        1: "exceeded its time limit of 1.5 s (limits.trial_s)",
    }
    assert study.view.n_finished == 4


def test_a_time_budget_counts_from_each_start(study: Study) -> None:
    executor = FakeExecutor()
    executor.endless = {0, 1}
    outcome = study.run(executor, budget__timeout_s=1.0)
    assert outcome.out_of_time
    assert study.states() == [State.WAITING] * 2
    study.run(FakeExecutor())
    assert study.states() == [State.COMPLETE] * 4


def test_interruptions_use_no_retries(study: Study) -> None:
    study.file.write_text(SWEEP.replace("epochs: 3", "epochs: 9"))
    for epoch in (1, 4):
        study.run(FakeExecutor(n_slots=1), signals={(0, epoch): signal.SIGINT})
    executor = FakeExecutor(n_slots=1)
    executor.n_crashes = {0: [7]}
    study.run(executor, limits__retries=1)
    row = study.view.trials[0]
    assert (row.state, row.attempts) == (State.COMPLETE, 4)


def test_a_failed_trial_keeps_no_model(study: Study) -> None:
    executor = FakeExecutor(n_slots=1)
    executor.endless = {0}
    folder = study.home.study("s")

    def save_model(number: int) -> None:
        folder.trial(number).best.parent.mkdir(parents=True)
        folder.trial(number).best.write_bytes(b"model")

    executor.on_submit = save_model
    study.run(executor, limits__trial_s=0.2)
    assert study.states()[0] is State.FAIL
    assert not folder.trial(0).best.exists()


def test_the_number_of_epochs_can_be_searched(study: Study) -> None:
    study.file.write_text(
        SWEEP.replace("space:", "space:\n  train.epochs: {choice: [2, 6]}").replace("trials: 4", "trials: 12")
        + "pruner: {name: median, n_startup_trials: 1, n_warmup_steps: 3}\n"
    )
    study.run(FakeExecutor(n_slots=1, accuracy=lambda job, epoch: 0.9 - 0.01 * job.number))
    short = [row for row in study.view.trials if row.settings["train.epochs"] == 2]
    long = [row for row in study.view.trials if row.settings["train.epochs"] == 6]
    assert {row.state for row in short} == {State.COMPLETE}
    assert State.PRUNED in {row.state for row in long}


def test_only_the_best_models_are_kept(study: Study) -> None:
    executor = FakeExecutor(n_slots=1, accuracy=lambda job, epoch: 0.5 + 0.1 * (job.number % 3))
    study.run(executor, keep__checkpoints=2, budget__trials=6)
    kept = [row.number for row in study.view.trials if study.home.study("s").trial(row.number).best.exists()]
    assert kept == [2, 5]


@pytest.mark.parametrize(
    ("settings", "difference"),
    [
        ({"train__epochs": 5}, "train.epochs: was 3, is 5"),
        ({"objective__metric": "val_loss"}, "objective.metric: was val_accuracy, is val_loss"),
        ({"sampler__seed": 4}, "sampler.seed: was 3, is 4"),
    ],
)
def test_a_changed_sweep_file_is_refused(study: Study, settings: dict[str, Any], difference: str) -> None:
    study.run(FakeExecutor())
    with pytest.raises(StudyError) as refused:
        study.run(FakeExecutor(), **settings)
    assert difference in str(refused.value)
    assert "--study NAME" in str(refused.value)


def test_changed_data_under_the_same_name_are_refused(study: Study) -> None:
    study.run(FakeExecutor())
    with pytest.raises(StudyError, match="data_digest"):
        StudyStore.open(study.home, study.config(), "other")


def test_the_progress_has_an_estimate_of_the_time_left(study: Study) -> None:
    study.run(FakeExecutor(n_slots=1))
    last = study.reporter.snapshots[-1]
    assert last.n_trials == 4
    assert any(snapshot.seconds_left is not None for snapshot in study.reporter.snapshots)
    assert last.best_value == pytest.approx(0.53)


def test_the_estimate_uses_the_trials_of_earlier_starts(study: Study) -> None:
    study.run(FakeExecutor(n_slots=1), signals={(2, 1): 15})
    study.reporter.snapshots.clear()
    study.run(FakeExecutor(n_slots=1))
    seconds_left = study.reporter.snapshots[0].seconds_left
    assert seconds_left == pytest.approx(2 * 0.3, abs=0.1), "two trials are left, and each takes three epochs of 0.1 s"
