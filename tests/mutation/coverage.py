"""Which test runs which functions of a package: only these tests can notice a change of the function.

It is recorded once, by a run of all tests without a mutant. A test that starts processes may run anything there, so it
counts as a test of all functions. What a fixture of a larger scope runs counts for the first test that needs it.
"""

import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

_STARTS_PROCESSES = ("/subprocess.py", "/multiprocessing/popen_fork.py", "/multiprocessing/popen_spawn_posix.py")


@dataclass(frozen=True)
class TestCoverage:
    """What one test runs.

    Attributes:
        seconds: its duration.
        starts_processes: whether it starts processes.
        functions: the path, the first and the last line of each function of the package that it calls.
    """

    __test__ = False

    seconds: float
    starts_processes: bool
    functions: tuple[tuple[str, int, int], ...]

    def covers(self, path: str, line: int) -> bool:
        """Tells whether it may run a line. A line outside of all functions is run by all that use the module."""
        if self.starts_processes:
            return True
        own = [function for function in self.functions if function[0] == path]
        return any(first <= line <= last for _, first, last in own)

    def uses(self, path: str) -> bool:
        """Tells whether it calls a function of a module."""
        return self.starts_processes or any(function[0] == path for function in self.functions)


class CoverageRecorder:
    """A plugin of pytest that records the functions that each test calls."""

    def __init__(self, tree: Path, folder: str, to: Path) -> None:
        """Args:
        tree: the copy of the project.
        folder: the package's, in the project.
        to: the file for the record.
        """
        self._prefix, self._folder, self._to = f"{tree}/", f"{tree}/{folder}/", to
        self._called: set[CodeType] = set()
        self._starts_processes = False
        self._found: dict[str, dict[str, Any]] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Iterator[None]:
        self._called, self._starts_processes, start = set(), False, time.monotonic()
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)
        try:
            return (yield)
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
            self._found[item.nodeid] = {
                "seconds": time.monotonic() - start,
                "starts_processes": self._starts_processes,
                "functions": sorted(self._function(code) for code in self._called),
            }

    def pytest_sessionfinish(self) -> None:
        self._to.write_text(json.dumps(self._found), encoding="utf-8")

    def _profile(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            code = frame.f_code
            if code.co_filename.startswith(self._folder):
                self._called.add(code)
            elif code.co_filename.endswith(_STARTS_PROCESSES):
                self._starts_processes = True

    def _function(self, code: CodeType) -> tuple[str, int, int]:
        lines = [line for _, _, line in code.co_lines() if line is not None]
        return code.co_filename.removeprefix(self._prefix), code.co_firstlineno, max(lines)


def load(path: Path) -> dict[str, TestCoverage]:
    """Returns what was recorded, by the id of the test."""
    found = json.loads(path.read_text(encoding="utf-8"))
    return {
        test: TestCoverage(one["seconds"], one["starts_processes"], tuple(tuple(each) for each in one["functions"]))
        for test, one in found.items()
    }


def covering_tests(path: str, line: int, tests: Mapping[str, TestCoverage]) -> list[str]:
    """Returns the tests that may notice a change of a line, the quickest one first."""
    covering = [test for test, about in tests.items() if about.covers(path, line)]
    if all(tests[test].starts_processes for test in covering):  # the line is in no function, or in an unused one
        covering = [test for test, about in tests.items() if about.uses(path)]
    return sorted(covering, key=lambda test: (tests[test].starts_processes, tests[test].seconds))
