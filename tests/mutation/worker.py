"""Runs the tests of mutants in a copy of the project, each in a process that is forked after the slow imports.

It reads one JSON object per line: the path and the new text of a module, the original text, the tests to run in their
order (or null for all, to record what each of them runs), and the time limits of one test and of all. It writes one
JSON object per line: the outcome, the test that failed, and the seconds. It never imports `rnnexp` itself.
"""

import contextlib
import ctypes
import importlib
import json
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import psutil

from tests.mutation.coverage import CoverageRecorder
from tests.mutation.packages import PACKAGES, Package

COVERAGE = "coverage.json"
_POLL_S = 0.02
_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    package, tree = PACKAGES[sys.argv[1]], Path.cwd()
    answers = os.fdopen(os.dup(1), "w")
    _become_subreaper()
    log = os.open(tree / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(log, 1)  # what the tests and the libraries print
    os.dup2(log, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in package.preload:
            importlib.import_module(name)
    for line in sys.stdin:
        answers.write(json.dumps(_run(package, tree, json.loads(line))) + "\n")
        answers.flush()


def _run(package: Package, tree: Path, task: dict[str, Any]) -> dict[str, Any]:
    """Runs the tests with one module changed; the module is the original one again afterwards."""
    module = tree / task["path"]
    failed = tree / "failed.txt"
    failed.unlink(missing_ok=True)
    os.truncate(tree / "log.txt", 0)
    module.write_text(task["source"], encoding="utf-8")
    start = time.monotonic()
    try:
        plugins: list[Any] = [FailedTest(failed)]
        if task["tests"] is None:
            plugins.append(CoverageRecorder(tree, package.folder, tree / COVERAGE))
        else:
            plugins.append(Selection(task["tests"]))
        outcome = _fork_tests(package, tree, task["tests"], plugins, task["timeout_s"], task["test_timeout_s"])
    finally:
        module.write_text(task["original"], encoding="utf-8")
    failed_test = failed.read_text(encoding="utf-8") if failed.exists() else None
    return {"outcome": outcome, "failed_test": failed_test, "seconds": round(time.monotonic() - start, 2)}


class Selection:
    """A plugin of pytest that runs only some tests."""

    def __init__(self, tests: Sequence[str]) -> None:
        """Args:
        tests: their ids, in the order in which they run.
        """
        self._rank = {test: rank for rank, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        chosen = [item for item in items if item.nodeid in self._rank]
        items[:] = sorted(chosen, key=lambda item: self._rank[item.nodeid])


class FailedTest:
    """A plugin of pytest that writes down which test fails."""

    def __init__(self, failed: Path) -> None:
        """Args:
        failed: the file for its id.
        """
        self._failed = failed

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self._failed.write_text(report.nodeid, encoding="utf-8")


def _fork_tests(
    package: Package,
    tree: Path,
    tests: Sequence[str] | None,
    plugins: list[Any],
    timeout_s: float,
    test_timeout_s: float,
) -> str:
    """Returns `survived`, `killed` or `timeout`. The tests and all processes that they start are ended."""
    pid = os.fork()
    if pid == 0:
        _run_tests(package, tree, tests, plugins, test_timeout_s)
    deadline = time.monotonic() + timeout_s
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done or time.monotonic() > deadline:
            break
        time.sleep(_POLL_S)
    if not done:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    _end_descendants()
    if not done:
        return "timeout"
    return "survived" if os.waitstatus_to_exitcode(status) == 0 else "killed"


def _become_subreaper() -> None:
    """Makes this process the parent of what its ended children leave, as servers in a session of their own; Linux."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _end_descendants() -> None:
    """Ends all processes that the tests have left."""
    left = psutil.Process().children(recursive=True)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, timeout=10)


def _run_tests(
    package: Package, tree: Path, tests: Sequence[str] | None, plugins: list[Any], test_timeout_s: float
) -> NoReturn:
    code = 70
    try:
        import pytest

        os.lseek(1, 0, os.SEEK_SET)
        options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--basetemp", str(tree / "tmp")]
        options += ["-o", f"faulthandler_timeout={test_timeout_s}", "-o", "faulthandler_exit_on_timeout=true"]
        files = package.tests if tests is None else sorted({test.partition("::")[0] for test in tests})
        code = int(pytest.main([*options, *package.options, "-m", package.marks, *files], plugins=plugins))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
