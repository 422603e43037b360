"""A short soak, and the judgement of samples with a leak."""

import sys
from pathlib import Path

import pytest

from rnnexp.home import Home
from tests.soak.__main__ import run_instant
from tests.soak.leftovers import leftovers
from tests.soak.memory import Growth
from tests.soak.watch import Sample

MIB = 2**20


def test_a_leak_of_memory_or_descriptors_is_a_problem() -> None:
    steady = [Sample(number, 200 * MIB + 3000 * number, 20) for number in range(0, 10_000, 100)]
    assert Growth.between(steady, 500).problems(3000) == []
    leaking = [Sample(number, 200 * MIB + 20_000 * number, 20 + number // 100) for number in range(0, 10_000, 100)]
    memory, descriptors = Growth.between(leaking, 500).problems(3000)
    assert "memory grew by" in memory
    assert "file descriptors grew" in descriptors


def test_the_end_of_the_sweep_is_no_leak() -> None:
    """It loads the libraries of the report, when no trial starts any more."""
    steady = [Sample(number, 200 * MIB, 20) for number in range(0, 301, 10)]
    end = [Sample(300, 300 * MIB, 25)] * 20
    assert Growth.between([*steady, *end], 50).problems(3000) == []


def test_incomplete_files_are_leftovers(tmp_path: Path) -> None:
    home, temporary = Home.at(tmp_path / "home"), tmp_path / "tmp"
    temporary.mkdir()
    folder = home.study("s").trial(0)
    folder.root.mkdir(parents=True)
    assert list(leftovers(home, "s", temporary)) == []
    left = [folder.root / "writing-best.keras", folder.state, home.root / ".bundle-x", temporary / "t"]
    for path in left:
        path.touch()
    assert sorted(leftovers(home, "s", temporary)) == sorted(left)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, which only Linux has")
@pytest.mark.tensorflow
def test_a_short_soak_has_no_problem(tmp_path: Path) -> None:
    assert run_instant(tmp_path, 60, 10) == []
