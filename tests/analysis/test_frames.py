"""Which studies can be compared, and what is shown of a pruned trial."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rnnexp.analysis import frames
from rnnexp.home import Home
from rnnexp.storage.views import StudyView
from rnnexp.trial import events
from rnnexp.trial.events import Started
from rnnexp.trial.states import State
from tests.storage.rows import study_view, trial_row

BASE = {"data.validation_split": 0.2, "data.split": "stratified", "data.seed": 0, "train.checkpoint_metric": None}


def view(name: str, metric: str = "val_accuracy", digest: str = "d", **base: Any) -> StudyView:
    settings = BASE | {key.replace("__", "."): value for key, value in base.items()}
    definition = {"objective": {"metric": metric}, "data_digest": digest, "base": settings}
    return study_view(trial_row(0, State.COMPLETE, 0.8), name=name, metric=metric, definition=definition)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.open(tmp_path / "home")


def record(home: Home, name: str, **data: Any) -> None:
    """Writes that a trial of the study has started with these data."""
    started = Started(time.time(), 1, 0, 1, 10, {"name": "fake", **data}, {})
    events.append(home.study(name).trial(0).events, started)


def reasons(home: Home, *views: StudyView) -> list[str]:
    return frames.reasons_not_comparable([replace(view, folder=home.study(view.name)) for view in views])


def test_equal_studies_are_comparable(home: Home) -> None:
    assert reasons(home, view("a"), view("b"), view("c")) == []


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"metric": "val_loss"}, "objective: a has val_accuracy, b has val_loss"),
        ({"digest": "e"}, "data: a has d, b has e"),
        ({"data__seed": 1}, "data seed: a has 0, b has 1"),
        ({"data__split": "tail"}, "split: a has stratified, b has tail"),
        ({"data__validation_split": 0.3}, "validation_split: a has 0.2, b has 0.3"),
    ],
)
def test_another_metric_or_other_rows_cannot_be_compared(home: Home, other: dict[str, Any], reason: str) -> None:
    assert reason in reasons(home, view("a"), view("b", **other))


def test_another_metric_of_the_best_epoch_cannot_be_compared(home: Home) -> None:
    """Each value is that of another epoch, so one study may only look better."""
    found = reasons(home, view("a"), view("b", train__checkpoint_metric="val_loss"))
    assert found == ["metric of the best epoch: a has val_accuracy, b has val_loss"]
    assert reasons(home, view("a"), view("b", train__checkpoint_metric="val_accuracy")) == []


def test_the_last_rows_do_not_depend_on_the_seed(home: Home) -> None:
    assert reasons(home, view("a", data__split="tail"), view("b", data__split="tail", data__seed=7)) == []


def test_recorded_rows_count_more_than_settings(home: Home) -> None:
    record(home, "a", split="s1", validation="v1")
    record(home, "b", split="s2", validation="v1")
    record(home, "c", split="s1", validation="v2")
    assert reasons(home, view("a"), view("b", data__validation_split=0.2000001)) == [], "the same rows were drawn"
    assert reasons(home, view("a"), view("c")) == ["validation rows: a has v1, c has v2"]
    assert reasons(home, view("a"), view("c", data__seed=4)) == ["data seed: a has 0, c has 4"]


def test_records_of_earlier_versions_have_one_digest_of_both_parts(home: Home) -> None:
    record(home, "a", split="s1")
    record(home, "b", split="s1", validation="v1")
    record(home, "c", split="s2")
    assert reasons(home, view("a"), view("b", data__seed=4)) == []
    assert reasons(home, view("a"), view("c")) == [], "only the training rows may differ"
    assert reasons(home, view("a"), view("c", data__seed=4)) == ["data seed: a has 0, c has 4"]
