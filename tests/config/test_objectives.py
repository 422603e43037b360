"""Several objectives and constraints in a sweep file."""

from pathlib import Path

import pytest

from rnnexp.config.load import load_sweep
from rnnexp.config.sweep import SweepConfig, fingerprint, json_schema, with_defaults
from rnnexp.errors import ConfigError

REST = "study: s\nbudget: {trials: 3}\nspace: {model.units: {int: [8, 64]}}\n"
TWO = "objective: [{metric: val_accuracy}, {metric: n_params}]\n"


def load(tmp_path: Path, text: str) -> SweepConfig:
    file = tmp_path / "s.yaml"
    file.write_text(REST + text)
    return load_sweep(file)


def test_a_list_has_a_first_objective_and_others(tmp_path: Path) -> None:
    config = load(tmp_path, f"{TWO}constraints: {{n_params: {{max: 1.0e6}}, val_accuracy: {{min: 0.5}}}}\n")
    assert [(one.metric, one.direction) for one in config.objectives] == [
        ("val_accuracy", "maximize"),
        ("n_params", "minimize"),
    ]
    assert config.objective.metric == config.base.train.monitor == "val_accuracy"
    assert config.constraints["n_params"].max == 1e6
    again = tmp_path / "again.yaml"
    again.write_text(config.to_yaml())
    assert load_sweep(again) == config


def test_a_study_with_one_objective_keeps_its_definition(tmp_path: Path) -> None:
    """A home of an earlier version has studies without constraints."""
    definition = load(tmp_path, "").definition()
    assert "constraints" not in definition
    assert definition["objective"] == {"metric": "val_accuracy", "direction": "maximize"}


def test_other_objectives_or_constraints_are_another_study(tmp_path: Path) -> None:
    prints = {
        fingerprint(load(tmp_path, text).definition()) for text in ("", TWO, "constraints: {n_params: {max: 9}}\n")
    }
    assert len(prints) == 3
    two = load(tmp_path, TWO)
    assert with_defaults({**two.definition(), "data_digest": "d"}, two)["objective"] == two.definition()["objective"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            f"{TWO}pruner: {{name: hyperband}}\n",
            "pruner: got hyperband, expected none: Optuna cannot prune with several",
        ),
        ("objective: []\n", "objective: got an empty list, expected at least one objective"),
        (
            "objective: [{metric: n_params}]\n",
            "objective.0.metric: got 'n_params', expected one of val_accuracy, val_loss",
        ),
        (
            "objective: [{metric: val_loss}, {metric: n_parms}]\n",
            "objective.1.metric: got 'n_parms'; did you mean n_params?",
        ),
        ("objective: [{metric: val_loss}, {metric: val_loss}]\n", "objective: val_loss is there twice"),
        (
            "objective: [{metric: val_loss}, {metric: n_params, direction: maximize}]\n",
            "objective.1: direction: got maximize",
        ),
        ("constraints: [n_params]\n", "constraints: got ['n_params'], expected metrics and their bounds"),
        ("constraints: {n_param: {max: 3}}\n", "constraints: 'n_param' is no metric; did you mean n_params?"),
        ("constraints: {n_params: {most: 3}}\n", "constraints.n_params.most: unknown setting"),
        ("constraints: {n_params: {}}\n", "constraints.n_params: expected min, max or both"),
        ("constraints: {n_params: {min: 3, max: 2}}\n", "constraints.n_params: min 3 is greater than max 2"),
        ("constraints: {n_params: {max: many}}\n", "constraints.n_params.max: got 'many', expected a number"),
    ],
)
def test_each_fault_is_one_line(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, text)
    lines = str(error.value).splitlines()
    assert any(fault in line for line in lines), lines
    assert sum(bool(line.strip()) for line in lines) <= 2


def test_an_option_cannot_change_one_of_several(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(REST + TWO)
    with pytest.raises(ConfigError, match="the file has a list of objectives; change it there"):
        load_sweep(file, {"objective.metric": "val_loss"})
    file.write_text(REST)
    assert load_sweep(file, {"objective.metric": "val_loss"}).objective.metric == "val_loss"


def test_editors_know_both_forms() -> None:
    schema = json_schema()
    assert {"type": "array"}.items() <= next(
        one for one in schema["properties"]["objective"]["anyOf"] if "type" in one
    ).items()
    assert "further_objectives" not in schema["properties"]
