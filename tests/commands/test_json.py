"""What commands print with `--json` has the shape that docs/json.md tells."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from rnnexp.cli import main, parser
from tests.json_shapes import check, faults, sections
from tests.study.fakes import FakeExecutor
from tests.study.small_study import Study


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = Study(tmp_path_factory.mktemp("study"))
    study.run(FakeExecutor())
    return study


def printed(capsys: pytest.CaptureFixture[str], small: Study, *arguments: str) -> Any:
    assert main([*arguments, "--json", "--home", str(small.home.root)]) in (0, 1)  # 1: the doctor has findings
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("section", "arguments"),
    [
        ("studies", ["studies"]),
        ("trials", ["trials", "s"]),
        ("show", ["show", "s", "0"]),
        ("compare", ["compare", "s"]),
        ("compare", ["compare", "s", "--group-by", "model.units"]),
        ("compare --diff", ["compare", "s", "--diff", "0", "1"]),
        ("data list", ["data", "list"]),
        ("doctor", ["doctor", "--no-devices"]),
    ],
)
def test_a_command_prints_its_shape(
    capsys: pytest.CaptureFixture[str], small: Study, section: str, arguments: list[str]
) -> None:
    found = printed(capsys, small, *arguments)
    assert found
    check(section, found)


def test_every_command_with_json_is_on_the_page() -> None:
    (verbs,) = [action for action in parser()._actions if isinstance(action, argparse._SubParsersAction)]

    def has_json(verb: argparse.ArgumentParser) -> bool:
        return any("--json" in action.option_strings for action in verb._actions)

    found = {name for name, verb in verbs.choices.items() if has_json(verb)}
    assert found - sections().keys() == set()
    assert {"sweep", "predict", "evaluate", "certify", "verify"} <= found


def test_a_wrong_value_is_noticed(tmp_path: Path) -> None:
    shape = {"a": "int", "b?": "str?", "c": [{"*": "number"}]}
    assert faults({"a": 1, "c": [{"x": 1.5}, {}]}, shape) == []
    assert faults({"a": 1, "b": None, "c": []}, shape) == []
    for value in (
        {"a": 1},
        {"a": "1", "c": []},
        {"a": True, "c": []},
        {"a": 1, "c": [{"x": "y"}]},
        {"a": 1, "c": [], "d": 0},
    ):
        assert faults(value, shape)
