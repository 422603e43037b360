"""Compares JSON with the shapes of docs/json.md."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

_PAGE = Path(__file__).resolve().parent.parent / "docs" / "json.md"
_TYPES = {"int": int, "number": (int, float), "str": str, "bool": bool}


@cache
def sections() -> dict[str, list[Any]]:
    """The shapes of the page, by the heading of their section."""
    parts = re.split(r"^## (.+)$", _PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    blocks = zip(parts[::2], parts[1::2], strict=True)
    return {
        head: [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.S)] for head, text in blocks
    }


def faults(value: Any, shape: Any, where: str = "$") -> list[str]:
    """How a value differs from a shape."""
    if isinstance(shape, str):
        kind = shape.removesuffix("?")
        if kind == "any" or (value is None and shape != kind):
            return []
        expected = _TYPES.get(kind)
        is_right = value == shape if expected is None else isinstance(value, expected)
        return (
            []
            if is_right and (kind == "bool" or not isinstance(value, bool))
            else [f"{where}: {value!r} is no {shape}"]
        )
    if isinstance(shape, list):
        if not isinstance(value, list):
            return [f"{where}: {value!r} is no list"]
        return [fault for index, item in enumerate(value) for fault in faults(item, shape[0], f"{where}[{index}]")]
    if not isinstance(value, dict):
        return [f"{where}: {value!r} is no object"]
    named = {key.removesuffix("?"): item for key, item in shape.items() if key != "*"}
    required = {key for key in shape if not key.endswith("?") and key != "*"}
    found = [f"{where}: without {key}" for key in sorted(required - value.keys())]
    for key, item in value.items():
        if key in named:
            found += faults(item, named[key], f"{where}.{key}")
        elif "*" in shape:
            found += faults(item, shape["*"], f"{where}.{key}")
        else:
            found.append(f"{where}: {key} is not on the page")
    return found


def check(section: str, value: Any) -> None:
    """Asserts that a value has the shape of a section, the first one if there are several."""
    assert faults(value, sections()[section][0]) == []


def check_event(event: dict[str, Any]) -> None:
    """Asserts that a value is one of the events of `sweep --json`."""
    shapes = {shape["event"]: shape for shape in sections()["sweep"]}
    assert faults(event, shapes[event["event"]]) == []
