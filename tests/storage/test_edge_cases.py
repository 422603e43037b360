"""Edge cases of the storage that a change of one operator or constant would break unseen."""

import random
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution, distribution_to_json
from optuna.trial import TrialState, create_trial

from rnnexp.config.sweep import SuccessiveHalvingPruner
from rnnexp.errors import StudyError
from rnnexp.storage import database, metadata, promotion
from rnnexp.storage import importances as importances_module
from rnnexp.storage.bulk_reader import StoredTrial
from rnnexp.storage.importances import compute
from rnnexp.storage.maintenance import create_database
from rnnexp.storage.metadata import PAUSED
from rnnexp.storage.paused import as_seen_by_sampler
from rnnexp.storage.planned import _Planned, _without_started
from rnnexp.storage.rebuild import rebuild
from rnnexp.storage.store import StudyStore
from rnnexp.storage.views import view, views
from rnnexp.trial.cursor import Cursor
from rnnexp.trial.states import State
from tests.study.fakes import FakeExecutor
from tests.study.small_study import Study


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


def test_each_new_study_has_an_identity_of_its_own() -> None:
    identities = {metadata.new_identity() for _ in range(5)}
    assert len(identities) == 5
    assert all(len(identity) == 32 for identity in identities)


def test_a_study_that_does_not_exist_is_not_loaded(study: Study) -> None:
    study.run(FakeExecutor())
    with pytest.raises(StudyError, match="no study t"):
        database.load_study(study.home, "t")


def test_all_studies_are_read_with_their_runs(study: Study) -> None:
    study.run(FakeExecutor())
    for number in range(4):
        Cursor(f"run-{number}", 1).save(study.home.study("s").trial(number).tracking)
    (found,) = views(study.home)
    assert [row.run_id for row in found.trials] == [f"run-{number}" for number in range(4)]
    assert [row.run_id for row in view(study.home, "s", with_runs=False).trials] == [None] * 4


def test_a_trial_that_never_started_is_rebuilt_without_an_attempt(study: Study) -> None:
    study.run(FakeExecutor())
    study.home.study("s").sweep.write_text(study.config().to_yaml())
    study.home.study("s").trial(3).events.unlink()
    database.open_storage.cache_clear()
    for path in study.home.root.glob("optuna.db*"):
        path.unlink()
    assert rebuild(study.home, "s", None) == 4
    rows = study.view.trials
    assert [row.attempts for row in rows] == [1, 1, 1, 0]
    assert [row.state for row in rows] == [*[State.COMPLETE] * 3, State.WAITING]
    assert not any(row.is_paused for row in rows)
    assert not any(PAUSED in trial.user_attrs for trial in database.load_study(study.home, "s").trials)
    database.open_storage.cache_clear()


def test_a_new_database_replaces_one_that_was_moved_away(study: Study) -> None:
    study.run(FakeExecutor())
    database.load_study(study.home, "s")  # leaves the old database open
    for path in study.home.root.glob("optuna.db*"):
        path.rename(study.home.root / f"old-{path.name}")
    create_database(study.home)
    assert study.home.optuna_db.exists()
    assert views(study.home) == []


def test_a_refused_change_lists_all_differences_if_they_are_few(study: Study) -> None:
    study.run(FakeExecutor())
    with pytest.raises(StudyError) as error:
        StudyStore.open(study.home, study.config(train__epochs=9), "digest")
    assert "train.epochs: was 3, is 9; undo the change" in str(error.value)
    assert "…" not in str(error.value)


def test_the_sampler_sees_a_paused_trial_as_a_pruned_one() -> None:
    trials = [
        create_trial(state=TrialState.COMPLETE, value=0.5),
        create_trial(state=TrialState.WAITING),
        create_trial(state=TrialState.WAITING),
    ]
    for number, trial in enumerate(trials):
        trial.number = number
    seen = as_seen_by_sampler(trials, {1}, None)
    assert [trial.state.name for trial in seen] == ["COMPLETE", "PRUNED", "WAITING"]
    assert [trial.number for trial in as_seen_by_sampler(trials, {1}, (TrialState.PRUNED,))] == [1]
    assert trials[1].state is TrialState.WAITING, "the stored trial stays as it is"


def test_lost_reports_of_a_paused_trial_are_restored(study: Study) -> None:
    config = study.config().model_copy(
        update={"pruner": SuccessiveHalvingPruner(name="successive_halving", pause=True, min_resource=1)}
    )
    store = StudyStore.open(study.home, config, "digest")
    request = store.ask()
    assert request is not None
    store.report(request.number, 1, 0.5)
    store.requeue(request.number, crashed=False)
    again = StudyStore.open(study.home, config, "digest")
    again.paused.restore_reports(request.number, {1: 0.5, 2: 0.6})
    stored = database.load_study(study.home, "s").trials[request.number]
    assert stored.intermediate_values == {1: 0.5, 2: 0.6}


def test_a_rung_of_one_trial_admits_it_once_all_have_started() -> None:
    pruner = SuccessiveHalvingPruner(name="successive_halving", pause=True, min_resource=2)
    rungs = promotion.build(pruner, "s", 8, maximize=True)
    assert rungs is not None
    for number in range(3):
        rungs.add(number, 2, 0.5 + number)
    admitted = [number for number in range(3) if not rungs.must_pause(number, 2, closing=True)]
    assert admitted == [2], "exactly one of three, and the best"


def test_importances_are_sorted_and_beside_chance_in_the_same_unit() -> None:
    space = {"model.dropout": FloatDistribution(0, 1), "train.learning_rate": FloatDistribution(0, 1)}
    stored, rng, made = {name: distribution_to_json(one) for name, one in space.items()}, random.Random(3), []
    sampler = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=3))
    for number in range(80):
        params: dict[str, Any] = sampler.ask(space).params
        value = params["train.learning_rate"] + rng.gauss(0, 0.01)
        made.append(StoredTrial(number, State.COMPLETE, None, None, value, params, dict(stored)))
    found = compute(made, maximize=True)
    assert [row.setting for row in found.rows] == ["train.learning_rate", "model.dropout"], "not the order of the space"
    first, second = found.rows
    assert first.share > 10 * first.noise_median
    assert second.noise_median < second.noise_limit < first.share
    assert second.noise_median == pytest.approx(first.noise_median, rel=1.0), "both are shares of the same sum"


def test_chance_is_a_share_of_the_same_sum_as_the_importance() -> None:
    row = importances_module._importance("model.units", 2.0, [1.0, 2.0, 3.0], 4.0)
    assert (row.share, row.noise_median, row.noise_limit) == (0.5, 0.5, 0.75)


def test_a_started_trial_takes_the_most_specific_entry_that_it_fits() -> None:
    entries = [_Planned(settings, None, 1.0) for settings in ({"a": 1}, {"a": 1, "b": 2}, {"c": 3}, {"a": 9})]

    def left(*trials: dict[str, Any]) -> list[Any]:
        return [entry.settings for entry in _without_started(entries, trials)]

    assert left({"a": 1, "b": 2}) == [{"a": 1}, {"c": 3}, {"a": 9}]
    assert left({"a": 1, "b": 2}, {"a": 1, "b": 7}) == [{"c": 3}, {"a": 9}]
    assert left({"a": 5, "c": 5}) == [{"a": 1}, {"a": 1, "b": 2}, {"c": 3}, {"a": 9}]


@pytest.mark.parametrize(("metric", "maximize"), [("val_accuracy", True), ("val_loss", False)])
def test_importances_know_which_values_are_better(
    study: Study, metric: str, maximize: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.run(FakeExecutor(), objective__metric=metric)
    monkeypatch.setattr(importances_module, "compute", lambda trials, *, maximize: maximize)
    assert importances_module.importances(study.home, "s") is maximize
