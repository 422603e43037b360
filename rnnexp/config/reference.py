"""Writes the reference of all settings, `docs/settings.md`, from the configuration's own models.

Run `make settings`, or `python -m rnnexp.config.reference`, which prints the text. A test fails if the file is not
current.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel

from rnnexp.config import sweep
from rnnexp.config.load import NOT_SEARCHED
from rnnexp.config.objectives import Bound, Objective
from rnnexp.config.trial import SECTIONS, TrialConfig
from rnnexp.space import Choice, FloatRange, IntRange

_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "greater than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "minItems": "at least {} value",
}
_TYPES = {
    "integer": "integer",
    "number": "number",
    "string": "string",
    "boolean": "boolean",
    "null": "null",
    "array": "list",
    "object": "mapping",
}

_INTRODUCTION = """\
# Settings

This file is generated from the program's own definitions by `make settings`; do not edit it.

A sweep file is a YAML mapping with the keys below. Only `study` is required, and `budget.trials` for every sampler
except `grid`. `--set NAME=VALUE` overrides one value on the command line, by its dotted name: `--set budget.trials=20`,
`--set model.units=64`. `rnnexp schema` prints the JSON Schema for editors, `rnnexp validate FILE` checks a file.
"""

_TRIAL = """\
## Settings of a trial

The key `base` has the sections `data`, `model`, `train` and `clip`. The keys `space` and `try`, and `--set`, name the
same settings by their dotted names (`model.units`). A file for `rnnexp train` has the four sections at its top level.
"""

_SPACE = """\
## `space`: distributions

`space` maps the dotted name of a setting to a distribution. A distribution has exactly one of the keys `choice`, `int`
and `float`. For example:

```yaml
space:
  model.cell: {choice: [simple_rnn, gru, lstm]}
  model.units: {int: [16, 128], log: true}
  clip.kind: {choice: [none, norm]}
  clip.threshold: {float: [0.1, 10], log: true, when: {clip.kind: [norm]}}
```
"""


def markdown() -> str:
    """Returns the reference of all settings as a Markdown document."""
    top = _schema(sweep.SweepConfig)["properties"]
    keys = [
        (key, field.get("description") or f"see [`{key}`](#{key})", "required" if key == "study" else "optional")
        for key, field in top.items()
        if key != "further_objectives"
    ]
    parts = [
        _INTRODUCTION,
        "## Keys of a sweep file\n",
        _table(("key", "", "meaning"), [(f"`{key}`", needed, meaning) for key, meaning, needed in keys]),
        _section("objective", Objective),
        _section("constraints", Bound),
        _kinds("sampler", "The default is `tpe`.", sweep.Sampler),
        _kinds("pruner", "The default is `none`.", sweep.Pruner),
        _section("budget", sweep.Budget),
        _section("limits", sweep.Limits),
        _section("keep", sweep.Keep),
        _section("engine", sweep.EngineConfig),
        _SPACE,
        *(_kind(model, key) for key, model in (("choice", Choice), ("int", IntRange), ("float", FloatRange))),
        "These settings cannot be part of a search space:\n",
        _table(("setting", "reason"), [(f"`{name}`", reason) for name, reason in NOT_SEARCHED.items()]),
        _TRIAL,
        *(_section(name, type(getattr(TrialConfig(), name)), f"{name}.", level=3) for name in SECTIONS),
    ]
    return "\n".join(parts)


def _section(title: str, model: type[BaseModel], prefix: str = "", level: int = 2) -> str:
    schema = _schema(model)
    return f"{'#' * level} `{title}`\n\n{schema['description']}\n\n{_fields(schema, prefix)}"


def _kinds(title: str, default: str, union: Any) -> str:
    """Returns the section of a part of which there are several kinds, each with a `name`."""
    models = get_args(get_args(union)[0])
    kinds = "\n".join(_kind(model, _schema(model)["properties"]["name"]["const"]) for model in models)
    return f"## `{title}`\n\nThe key `name` selects one of the following kinds. {default}\n\n{kinds}"


def _kind(model: type[BaseModel], name: str) -> str:
    schema = _schema(model)
    schema["properties"].pop("name", None)
    fields = "\n" + _fields(schema, "") if schema["properties"] else ""
    return f"### `{name}`\n\n{schema['description']}\n{fields}"


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema(by_alias=True)


def _fields(schema: Mapping[str, Any], prefix: str) -> str:
    required = schema.get("required", ())
    rows = [
        (
            f"`{prefix}{key}`",
            _type(field),
            "required" if key in required else f"`{_yaml(field.get('default', {}))}`",
            _allowed(field),
            field["description"],
        )
        for key, field in schema["properties"].items()
    ]
    return _table(("setting", "type", "default", "allowed", "meaning"), rows)


def _yaml(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _alternatives(field: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Returns the types of a field: one, or a type and null."""
    return list(field.get("anyOf", [field]))


def _type(field: Mapping[str, Any]) -> str:
    return " or ".join("string" if "enum" in each else _TYPES[each["type"]] for each in _alternatives(field))


def _allowed(field: Mapping[str, Any]) -> str:
    found = []
    for each in _alternatives(field):
        values = each.get("enum", [each["const"]] if "const" in each else [])
        found += [", ".join(f"`{_yaml(value)}`" for value in values)] if values else []
        if "prefixItems" in each:
            found.append("two bounds, the lower one first")
        else:
            found += [text.format(each[key]) for key, text in _BOUNDS.items() if key in each]
    return ", ".join(found)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(markdown())
