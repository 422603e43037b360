"""A short run of the fuzzer, and the cases that it once found."""

import sys
from pathlib import Path

import pytest

from tests.fuzz import inputs, targets
from tests.fuzz.__main__ import Fuzzer
from tests.fuzz.case import Case

pytestmark = pytest.mark.integration  # starts processes

_CORPUS = sorted(Path(__file__).with_name("corpus").glob("*.json"))


@pytest.mark.parametrize("path", _CORPUS, ids=lambda path: path.stem)
def test_a_case_that_was_found_is_accepted_or_refused_with_one_line(tmp_path: Path, path: Path) -> None:
    targets.run(Case.from_json(path.read_text(encoding="utf-8")), tmp_path)


@pytest.mark.parametrize("target", [name for name in targets.TARGETS if name != "model"])
def test_a_short_run_finds_nothing(tmp_path: Path, target: str) -> None:
    fuzzer = Fuzzer(target, seed=1, out=tmp_path)
    fuzzer.run(1e9, n_cases=60)
    assert dict(fuzzer.faults) == {}
    assert fuzzer.counts.total() == 60
    assert fuzzer.counts["refused"] > 10, "the changes have no effect"
    assert fuzzer.counts["accepted"] > 0, "the changes destroy everything"


def test_a_case_is_the_same_each_time_it_is_made() -> None:
    for target in targets.TARGETS:
        if target != "model":
            assert inputs.make(target, 3, 14).to_json() == inputs.make(target, 3, 14).to_json()
            assert inputs.make(target, 3, 14).to_json() != inputs.make(target, 3, 15).to_json()


_FAULTS = {
    "pass": "",
    "raise KeyError(5)": "KeyError: 5",
    "os._exit(3)": "the process ended with code 3",
    "os.abort()": "the process ended with code -6",
    "time.sleep(99)": "no answer after 2 s",
    "open('/dev/shm/escaped', 'a')": "outside the folder",
    "(sandbox / '..' / 'x').mkdir()": "outside the folder",
    "subprocess.run(['true'])": "outside the folder",
    "bytearray(7_000_000_000)": "MemoryError",
    "raise UserError('a\\nb')": "2 lines for 1 faults",
    "raise UserError('a\\x1b[2J')": "an error that cannot be shown",
    "raise DataError('a\\nb')": "",
    "(sandbox / 'x').mkdir()": "",
}
"""What a program does with a case, and the fault that is reported."""

_START = """
import os, subprocess, sys, time
from rnnexp.errors import DataError, UserError
from tests.fuzz import child, inputs, targets
from tests.fuzz.case import Case
bodies = {bodies!r}
inputs.make = lambda target, seed, number: Case("npz", {{}}, {{"number": number}})
targets.TARGETS["npz"] = lambda sandbox, options: exec(bodies[options["number"]], globals() | {{"sandbox": sandbox}})
child.main()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory, and resolves folders by /proc")
def test_each_kind_of_fault_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.__main__._COMMAND", ("-c", _START.format(bodies=[*_FAULTS])))
    monkeypatch.setattr("tests.fuzz.__main__._LIMIT_S", 2.0)
    fuzzer = Fuzzer("npz", seed=0, out=tmp_path)
    fuzzer.run(1e9, n_cases=len(_FAULTS))
    assert fuzzer.counts.total() == len(_FAULTS)
    for number, (body, words) in enumerate(_FAULTS.items()):
        report = tmp_path / f"npz-0-{number}.txt"
        assert report.exists() == report.with_suffix(".json").exists() == bool(words), body
        assert not words or words in report.read_text(), body
