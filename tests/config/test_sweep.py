import json
from pathlib import Path
from typing import Any

import pytest

from rnnexp.config.files import load_mapping
from rnnexp.config.load import load_sweep
from rnnexp.config.objectives import Objective
from rnnexp.config.sweep import SweepConfig, differences, fingerprint, json_schema, with_defaults
from rnnexp.config.trial import SECTIONS, setting_names

_SWEEPS = sorted((Path(__file__).parents[2] / "sweeps").glob("*.yaml"))
_TEXT = """\
study: s
sampler: {name: tpe, seed: 7}
budget: {trials: 4}
base: {train: {epochs: 3}}
try: [{model.units: 32}]
space:
  model.units: {int: [16, 64], log: true}
  clip.kind: {choice: [none, norm]}
  clip.threshold: {float: [0.1, 10], when: {clip.kind: norm}}
"""


def _load(folder: Path, text: str = _TEXT) -> SweepConfig:
    path = folder / "s.yaml"
    path.write_text(text, encoding="utf-8")
    return load_sweep(path)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("seed: 7", "seed: 8"),
        ("epochs: 3", "epochs: 4"),
        ("[16, 64]", "[16, 65]"),
        ("log: true", "log: false"),
        ("when: {clip.kind: norm}", "when: {}"),
        ("{model.units: 32}", "{model.units: 33}"),
        ("base:", "objective: {metric: val_loss}\nbase:"),
        ("base:", "pruner: {name: median}\nbase:"),
    ],
)
def test_the_definition_of_a_study_changes_its_fingerprint(tmp_path: Path, old: str, new: str) -> None:
    assert old in _TEXT
    before, after = _load(tmp_path).definition(), _load(tmp_path, _TEXT.replace(old, new)).definition()
    assert fingerprint(before) != fingerprint(after)
    assert differences(before, after)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("trials: 4", "trials: 40, timeout_s: 5"),
        ("study: s", "study: t\nlimits: {retries: 0}\nkeep: {checkpoints: 1}"),
        ("base:", "objective: {metric: val_accuracy, direction: maximize}\nbase:"),
        ("[0.1, 10]", "[1e-1, 1e+1]"),
        ("clip.kind: norm}", "clip.kind: [norm]}"),
    ],
)
def test_other_settings_do_not_change_the_fingerprint(tmp_path: Path, old: str, new: str) -> None:
    assert old in _TEXT
    before, after = _load(tmp_path).definition(), _load(tmp_path, _TEXT.replace(old, new)).definition()
    assert fingerprint(before) == fingerprint(after)
    assert differences(before, after) == []


def test_a_definition_is_the_same_after_json_conversion(tmp_path: Path) -> None:
    definition = _load(tmp_path).definition()
    stored = json.loads(json.dumps(definition))
    assert differences(stored, definition) == []
    assert fingerprint(stored) == fingerprint(definition)
    assert fingerprint(dict(reversed(list(stored.items())))) == fingerprint(definition)


def test_differences_name_each_leaf_with_both_values(tmp_path: Path) -> None:
    changed = _TEXT.replace("epochs: 3", "epochs: 4").replace("[16, 64]", "[16, 65]")
    lines = differences(_load(tmp_path).definition(), _load(tmp_path, changed).definition())
    assert lines == ["train.epochs: was 3, is 4", "space.model.units.int: was [16, 64], is [16, 65]"]


def test_differences_name_added_and_removed_settings() -> None:
    assert differences({"a": 1, "b": {"c": 2}}, {"b": {"c": 2, "d": 3}}) == [
        "a: was 1, is not there",
        "b.d: was not there, is 3",
    ]


@pytest.mark.parametrize(
    ("metric", "direction"),
    [("val_accuracy", "maximize"), ("accuracy", "maximize"), ("val_loss", "minimize"), ("loss", "minimize")],
)
def test_an_objectives_direction_follows_from_its_metric(metric: str, direction: str) -> None:
    assert Objective.model_validate({"metric": metric}).direction == direction


def test_a_grid_has_as_many_trials_as_combinations_up_to_the_budget(tmp_path: Path) -> None:
    grid = _TEXT.replace("{name: tpe, seed: 7}", "{name: grid}").replace("log: true", "step: 16")
    grid = grid.replace("[0.1, 10]", "[1, 3], step: 1")
    assert _load(tmp_path, grid).n_trials == 4  # the budget's
    assert _load(tmp_path, grid.replace("trials: 4", "timeout_s: 9")).n_trials == 4 * (1 + 3)


def _accepts(schema: dict[str, Any], value: Any, root: dict[str, Any]) -> bool:
    """Checks a value against the keywords of JSON Schema for keys and types."""
    if "$ref" in schema:
        target = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        return _accepts(target, value, root)
    for kind in ("anyOf", "oneOf"):
        if kind in schema and not any(_accepts(option, value, root) for option in schema[kind]):
            return False
    if "const" in schema and value != schema["const"]:
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    kinds: dict[str, Any] = {
        "object": dict,
        "array": list,
        "string": str,
        "boolean": bool,
        "integer": int,
        "number": (int, float),
    }
    if schema.get("type") in kinds and not isinstance(value, kinds[schema["type"]]):
        return False
    if schema.get("type") == "null" and value is not None:
        return False
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        if not set(schema.get("required", [])) <= set(value):
            return False
        if not set(value) <= set(schema.get("propertyNames", {}).get("enum", value)):
            return False
        for key, item in value.items():
            inner = properties.get(key, schema.get("additionalProperties", True))
            if inner is False or (inner is not True and not _accepts(inner, item, root)):
                return False
    if isinstance(value, list):
        items = schema.get("prefixItems") or [schema.get("items", {})] * len(value)
        return len(items) == len(value) and all(
            _accepts(one, item, root) for one, item in zip(items, value, strict=True)
        )
    return True


@pytest.mark.parametrize("path", _SWEEPS, ids=lambda path: path.stem)
def test_the_schema_accepts_the_shipped_sweeps(path: Path) -> None:
    schema = json_schema()
    assert _accepts(schema, load_mapping(path), schema)


@pytest.mark.parametrize(
    "change",
    [
        {"studdy": "x"},
        {"sampler": {"name": "tpee"}},
        {"objective": {"metric": "f1"}},
        {"base": {"model": {"unit": 3}}},
        {"base": {"model": {"cell": "lstmm"}}},
        {"space": {"model.unit": {"int": [1, 2]}}},
        {"space": {"model.units": {"between": [1, 2]}}},
        {"space": {"model.units": {"int": [1]}}},
        {"try": {}},
    ],
)
def test_the_schema_rejects_what_the_loader_rejects(change: dict[str, Any]) -> None:
    schema = json_schema()
    sound = {"study": "s", "budget": {"trials": 1}}
    assert _accepts(schema, sound, schema)
    assert not _accepts(schema, sound | change, schema)


def test_the_schema_names_every_setting() -> None:
    schema = json.loads(json.dumps(json_schema()))
    assert schema["required"] == ["study"]
    assert set(schema["properties"]["space"]["propertyNames"]["enum"]) >= set(setting_names()) - {"train.monitor"}
    sections = schema["$defs"]["TrialConfig"]["properties"]
    assert set(sections) == set(SECTIONS)
    described = {
        f"{section}.{key}"
        for section in SECTIONS
        for key, field in schema["$defs"][f"{section.capitalize()}Config"]["properties"].items()
        if field.get("description")
    }
    assert described == set(setting_names())


def test_a_study_without_the_newer_settings_is_the_same_study(tmp_path: Path) -> None:
    config = _load(tmp_path)
    stored = json.loads(json.dumps(config.definition()))
    for name in ("data.group", "train.weight_decay"):
        del stored["base"][name]
    filled = with_defaults(stored, config)
    now = json.loads(json.dumps(config.definition()))
    assert differences(filled, now) == []
    assert fingerprint(filled) == fingerprint(now)
