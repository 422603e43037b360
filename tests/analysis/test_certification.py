"""The plan of a certification: which configurations, which seeds, which sweep, and how its trials are read back."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnexp.analysis.certification import Certification, certification
from rnnexp.analysis.configurations import configurations, labels
from rnnexp.config.load import load_sweep
from rnnexp.config.sweep import SweepConfig
from rnnexp.errors import ConfigError, StudyError, UserError
from rnnexp.home import StudyFolder
from rnnexp.storage.views import StudyView, TrialRow
from rnnexp.trial.states import State

SWEEP = """
study: cells
budget: {trials: 9}
pruner: {name: hyperband}
base: {data: {name: imdb}, model: {embedding_dim: 32}}
space:
  model.cell: {choice: [lstm, gru, simple_rnn]}
  model.units: {int: [8, 64]}
  clip.kind: {choice: [none, norm, value]}
  clip.threshold: {float: [0.1, 10], when: {clip.kind: [norm, value]}}
  train.seed: {choice: [0, 1, 7]}
"""


def row(number: int, value: float | None, state: State = State.COMPLETE, **settings: Any) -> TrialRow:
    named = {name.replace("__", "."): setting for name, setting in settings.items()}
    metrics = {"val_accuracy": value or 0.0, "val_loss": 1 - (value or 0.0)}
    return TrialRow(number, state, value, 1, named, metrics, 10.0 + number, 1, None, None)


LSTM = {"model__cell": "lstm", "model__units": 64, "clip__kind": "norm", "clip__threshold": 2.5}
GRU = {"model__cell": "gru", "model__units": 38, "clip__kind": "none"}
ROWS = (
    row(0, 0.86, **LSTM, train__seed=0),
    row(1, 0.89, **GRU, train__seed=7),
    row(2, 0.90, **LSTM, train__seed=1),
    row(3, 0.95, State.PRUNED, model__cell="gru", model__units=8, clip__kind="none", train__seed=0),
    row(4, None, State.FAIL, model__cell="gru", model__units=9, clip__kind="none", train__seed=0),
    row(5, 0.80, model__cell="lstm", model__units=64, clip__kind="norm", clip__threshold=9.0, train__seed=0),
)


def study(rows: tuple[TrialRow, ...] = ROWS, name: str = "cells") -> StudyView:
    folder = StudyFolder(Path("nowhere"))
    return StudyView(name, "id", "val_accuracy", "maximize", {}, 9, None, rows, folder)


@pytest.fixture
def source(tmp_path: Path) -> SweepConfig:
    file = tmp_path / "sweep.yaml"
    file.write_text(SWEEP)
    return load_sweep(file)


@pytest.fixture
def plan(source: SweepConfig) -> Certification:
    return certification(study(), source, 3, 8, None, draws_split=True)


def trained(plan: Certification, score: Any, n_seeds: int = 8) -> StudyView:
    """The study of a certification: `score(configuration, seed)` is the value of a trial, None for a failed one."""
    rows = []
    for number, settings in enumerate(plan.config.tries[: n_seeds * len(plan.candidates)]):
        value = score(number % len(plan.candidates), settings["train.seed"])
        named = {name.replace(".", "__"): setting for name, setting in settings.items()}
        rows.append(row(number, value, State.COMPLETE if value is not None else State.FAIL, **named))
    return study(tuple(rows), plan.config.study)


def test_trials_that_differ_by_their_seed_are_one_configuration() -> None:
    found = configurations(study())
    assert [[one.number for one in each.rows] for each in found] == [[1], [0, 2], [5], [3]]
    assert [each.value for each in found[:3]] == pytest.approx([0.89, 0.88, 0.80])
    assert found[3].value is None, "a pruned trial says nothing about the value of its settings"
    of_losses = [each.value for each in configurations(replace(study(), direction="minimize"))]
    assert of_losses[:3] == pytest.approx([0.80, 0.88, 0.89])


def test_what_violates_a_constraint_is_certified_last() -> None:
    constrained = {**study().definition, "constraints": {"val_loss": {"min": 0.115, "max": None}}}
    found = configurations(replace(study(), definition=constrained))
    assert [one.number for one in found[0].rows] == [0, 2], "trial 1 has a loss of 0.11"


def test_the_names_tell_apart_what_differs(plan: Certification) -> None:
    assert plan.names == (
        "GRU(38)",
        "LSTM(64) with clip.kind norm, clip.threshold 2.5",
        "LSTM(64) with clip.kind norm, clip.threshold 9",
    )
    assert labels([{"model.cell": "mine", "model.units": 4}, {"model.cell": "gru"}]) == ["mine(4)", "GRU"]


def test_the_sweep_trains_each_configuration_on_each_fresh_seed(plan: Certification, tmp_path: Path) -> None:
    config = plan.config
    assert config.study == "cells-certify"
    assert config.pruner.name == "none"
    assert plan.seeds == (8, 9, 10, 11, 12, 13, 14, 15), "the study has used 0, 1 and 7"
    assert len(config.tries) == config.n_trials == config.keep.checkpoints == 24
    for place, entry in enumerate(config.tries):
        seed = plan.seeds[place // 3]
        assert (entry["train.seed"], entry["data.seed"]) == (seed, seed)
    assert [entry.get("clip.threshold") for entry in config.tries[:3]] == [None, 2.5, 9.0]
    file = tmp_path / "again.yaml"
    file.write_text(config.to_yaml())
    assert load_sweep(file).definition() == config.definition(), "it is a sweep like any other"


def test_settings_that_all_share_are_fixed(source: SweepConfig) -> None:
    two = certification(study((ROWS[0], ROWS[5])), source, 2, 6, None, draws_split=False)
    assert two.config.base.model.cell == "lstm"
    assert two.config.base.clip.kind == "norm"
    assert set(two.config.space) == {"clip.threshold", "train.seed"}


def test_a_seed_of_the_split_cannot_be_searched_otherwise(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(SWEEP + "  data.seed: {choice: [0, 1]}\n")
    with pytest.raises(ConfigError, match=r"space\.data\.seed: cannot be searched"):
        load_sweep(file)


def test_the_scores_are_those_of_the_common_seeds(plan: Certification) -> None:
    found = trained(plan, lambda place, seed: None if (place, seed) == (1, 10) else 0.8 + place / 100 + seed / 1e4)
    assert list(plan.common_rows(found)) == [8, 9, 11, 12, 13, 14, 15]
    scores = plan.scores(found)
    assert scores.shape == (3, 7)
    np.testing.assert_allclose(scores[2], [0.82 + seed / 1e4 for seed in plan.common_rows(found)])
    result = plan.result(found)
    assert result is not None
    assert result.leader == 2


def test_a_loss_is_compared_by_its_smaller_values(source: SweepConfig) -> None:
    plan = certification(study(), source, 2, 8, "val_loss", draws_split=True)
    found = trained(plan, lambda place, seed: 0.8 + place / 10)
    result = plan.result(found)
    assert result is not None
    assert plan.scores(found)[:, 0] == pytest.approx([-0.2, -0.1])
    assert result.leader == 1


def test_more_seeds_extend_the_same_plan(source: SweepConfig) -> None:
    few, many = (certification(study(), source, 2, n, None, draws_split=True) for n in (6, 12))
    assert few.looks() == [6]
    assert many.looks() == [6, 8, 10, 12]
    assert many.config.tries[:12] == few.config.tries
    assert many.with_seeds(8).n_trials == 16
    assert certification(study(), source, 1, 12, None, draws_split=True).looks() == [12]


@pytest.mark.parametrize(
    ("top", "n_seeds", "words"), [(4, 8, r"--top: got 4, expected 1 to 3"), (0, 8, "--top: got 0"), (2, 5, "got 5")]
)
def test_what_cannot_be_certified_is_refused(source: SweepConfig, top: int, n_seeds: int, words: str) -> None:
    with pytest.raises(UserError, match=words):
        certification(study(), source, top, n_seeds, None, draws_split=True)
    with pytest.raises(UserError, match="no complete trial"):
        certification(study(ROWS[3:5]), source, 1, 8, None, draws_split=True)


def test_another_comparison_does_not_continue_an_earlier_one(source: SweepConfig) -> None:
    made = {(top, n): certification(study(), source, top, n, None, draws_split=True) for top in (2, 3) for n in (6, 8)}
    stored = replace(
        study(name="cells-certify"), definition={"try": [dict(entry) for entry in made[2, 6].config.tries]}
    )
    made[2, 6].check_continues(stored)
    made[2, 8].check_continues(stored)
    with pytest.raises(StudyError, match=r"compares other configurations.*rnnexp delete cells-certify"):
        made[3, 6].check_continues(stored)
    longer = replace(stored, definition={"try": [dict(entry) for entry in made[2, 8].config.tries]})
    with pytest.raises(StudyError, match="got 6, but study cells-certify has 8 seeds planned"):
        made[2, 6].check_continues(longer)


def test_without_a_common_seed_there_is_no_result(plan: Certification) -> None:
    assert plan.result(study((), "cells-certify")) is None


def test_configurations_never_have_the_same_name() -> None:
    settings = [
        {"model.cell": "lstm", "model.units": 8, "train.learning_rate": rate} for rate in (0.0012341, 0.0012338)
    ]
    first, second = labels(settings)
    assert first == "LSTM(8) with train.learning_rate 0.0012341"
    assert second != first
    settings[1]["train.learning_rate"] = 0.1
    assert labels(settings)[0] == "LSTM(8) with train.learning_rate 0.00123"
