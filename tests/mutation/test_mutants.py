"""The changes that mutation testing makes, and the draw of them."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutation.__main__ import Results, draw, report
from tests.mutation.coverage import TestCoverage, covering_tests, load
from tests.mutation.mutants import Mutant, mutate, sites
from tests.mutation.packages import PACKAGES


def mutants(path: str, source: str) -> list[Mutant]:
    return [mutate(site, source) for site in sites(path, source)]


def changed(source: str) -> set[tuple[str, str]]:
    """Returns the kind and the new text of each change."""
    return {(mutant.operator, mutant.after) for mutant in mutants("m.py", source)}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a < b", {("comparison", "a <= b")}),
        ("a is None", {("comparison", "a is not None")}),
        ("a in b", {("comparison", "a not in b")}),
        ("a and b", {("boolean", "a or b")}),
        ("not a", {("not", "a")}),
        ("a + b", {("arithmetic", "a - b")}),
        ("a // b", {("arithmetic", "a * b")}),
        ("a += b", {("arithmetic", "a -= b"), ("statement", "pass")}),
        ("x = 3", {("constant", "4")}),
        ("x = True", {("constant", "False")}),
        ("f(a)", {("statement", "pass")}),
        ("raise E", {("statement", "pass")}),
        ("y = a if b else c", {("condition", "a if not b else c")}),
    ],
)
def test_each_operator(source: str, expected: set[tuple[str, str]]) -> None:
    assert changed(source) == expected


def test_a_return_value_is_replaced_by_none() -> None:
    assert ("return", "return None") in changed("def f():\n    return a")
    assert not changed("def f():\n    return None")


def test_what_has_no_behaviour_is_not_changed() -> None:
    source = '''
"""Text."""
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    f(1)
class A(B):
    """Text."""
    x: list[1]
@g(1)
def f(a: T[1]) -> T[1]:
    """Text."""
    assert a < 1
    return f"{a + 1}" + "text"
'''
    assert {operator for operator, _ in changed(source)} == {"return"}


def test_a_mutant_is_a_whole_module_with_one_change() -> None:
    source = "x = 1\nif x < 2:\n    f(x)\n"
    made = mutants("m.py", source)
    assert [mutant.line for mutant in made] == [1, 2, 2, 2, 3]
    assert len({mutant.id for mutant in made}) == len(made)
    for mutant in made:
        different = [
            (old, new)
            for old, new in zip(ast.unparse(ast.parse(source)).split("\n"), mutant.source.split("\n"), strict=False)
            if old != new
        ]
        assert len(different) == 1


@pytest.mark.parametrize("package", PACKAGES)
def test_the_draw_depends_on_the_seed_only(package: str) -> None:
    one, same, other = draw(package, 20, 1), draw(package, 20, 1), draw(package, 20, 2)
    assert one == same != other
    assert len({mutant.id for mutant in one}) == 20
    for mutant in one:
        compile(mutant.source, mutant.path, "exec")


def test_results_are_kept_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = mutants("m.py", "x = 1 + 2 + 3 + 4\n")
    results = Results(tmp_path / "results.jsonl")
    for number, mutant in enumerate(drawn):
        outcome = "survived" if number == 0 else "killed"
        results.add("study", mutant, {"outcome": outcome, "seconds": 1.0})
    again = Results(tmp_path / "results.jsonl")
    assert set(again.by_id) == {mutant.id for mutant in drawn}
    assert report("study", drawn, again) is (1 - 1 / len(drawn) >= 0.85)
    printed = capsys.readouterr().out
    assert f"{len(drawn)} of {len(drawn)} mutants tested" in printed
    assert f"  m.py:1 {drawn[0].operator}: {drawn[0].before!r} -> {drawn[0].after!r}" in printed
    missing = [*drawn, Mutant("m.py", 1, "constant", "1", "2", "y = 2")]
    assert report("study", missing, again) is False, "a mutant without a result"


def test_the_tests_that_noticed_most_run_first(tmp_path: Path) -> None:
    drawn = mutants("m.py", "x = 1 + 2 + 3 + 4\n")
    results = Results(tmp_path / "results.jsonl")
    for mutant, failed in zip(drawn, ["t.py::rare", "t.py::often", None, "t.py::often"], strict=False):
        results.add("study", mutant, {"outcome": "killed", "failed_test": failed, "seconds": 1.0})
    assert results.most_useful_tests("study") == ["t.py::often", "t.py::rare"]
    assert results.most_useful_tests("storage") == []


def test_the_covering_tests_a_line_are_those_that_run_its_function() -> None:
    tests = {
        "slow": TestCoverage(2.0, False, (("a.py", 1, 9), ("b.py", 1, 3))),
        "quick": TestCoverage(0.1, False, (("a.py", 3, 5),)),
        "server": TestCoverage(0.5, True, ()),
        "other": TestCoverage(0.2, False, (("b.py", 1, 3),)),
    }
    assert covering_tests("a.py", 4, tests) == ["quick", "slow", "server"]
    assert covering_tests("a.py", 8, tests) == ["slow", "server"]
    assert covering_tests("a.py", 20, tests) == ["quick", "slow", "server"], "a line outside of all functions"
    assert covering_tests("c.py", 1, tests) == ["server"]


def test_what_each_test_runs_is_recorded(tmp_path: Path) -> None:
    """In a process of its own: a test that records cannot be recorded."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "one.py").write_text("def used():\n    return 1\n\n\ndef unused():\n    return 2\n")
    (tmp_path / "test_one.py").write_text(
        "import subprocess, sys\n"
        "from package.one import used\n"
        "def test_used(): assert used() == 1\n"
        "def test_process(): subprocess.run([sys.executable, '-c', ''], check=True)\n"
    )
    code = (
        "import sys; from pathlib import Path; import pytest; from tests.mutation.coverage import CoverageRecorder\n"
        "tree = Path(sys.argv[1])\n"
        "recorder = CoverageRecorder(tree, 'package', tree / 'found.json')\n"
        "sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', 'test_one.py'], plugins=[recorder]))"
    )
    environment = {**os.environ, "PYTHONPATH": f"{Path(__file__).parents[2]}:{tmp_path}"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=tmp_path, env=environment, check=True)
    found = load(tmp_path / "found.json")
    assert found["test_one.py::test_used"].functions == (("package/one.py", 1, 2),)
    assert not found["test_one.py::test_used"].starts_processes
    assert found["test_one.py::test_process"].starts_processes
