"""Mutation testing: `python -m tests.mutation`.

Draws mutants of each package by a seed, runs on each the tests that run the changed function, and prints the share that
the tests noticed and the mutants that survived. A mutant that survives is either equivalent to the original, or a test
is missing. Finished mutants are lines of `results.jsonl`; the same command continues an interrupted run.
"""

import argparse
import json
import os
import queue
import random
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from tests.mutation import coverage
from tests.mutation.coverage import TestCoverage
from tests.mutation.mutants import Mutant, mutate, sites
from tests.mutation.packages import PACKAGES
from tests.mutation.worker import COVERAGE

_ROOT = Path(__file__).resolve().parents[2]
_COPIED = ("rnnexp", "tests", "sweeps", "docs", "pyproject.toml", "README.md", "Makefile")
_MIN_TIMEOUT_S, _TIMEOUT_FACTOR = 20.0, 4.0
"""The time limit of all tests of a mutant, relative to the tests without one."""
_TEST_TIMEOUT_S = 60.0
"""The time limit of one test: a mutant that makes a loop endless is noticed soon."""
_BASELINE_TIMEOUT_S = 900.0
_MIN_SCORE = 0.85


def draw(package: str, number: int, seed: int) -> list[Mutant]:
    """Returns mutants of a package, drawn from all of its modules by a seed, without repetition."""
    folder = _ROOT / PACKAGES[package].folder
    sources = {str(path.relative_to(_ROOT)): path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py"))}
    every = [site for path, source in sources.items() for site in sites(path, source)]
    return [mutate(site, sources[site.path]) for site in random.Random(seed).sample(every, min(number, len(every)))]


class Results:
    """The finished mutants, in a file with one line for each."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self.by_id: dict[str, dict[str, Any]] = {line["id"]: line for line in map(json.loads, lines)}

    def most_useful_tests(self, package: str) -> list[str]:
        """Returns the tests that noticed a mutant, those that noticed most first: most mutants then end soon."""
        with self._lock:
            lines = [line for line in self.by_id.values() if line["package"] == package]
        counts = Counter(line["failed_test"] for line in lines if line.get("failed_test"))
        return [test for test, _ in counts.most_common()]

    def add(self, package: str, mutant: Mutant, answer: dict[str, Any]) -> None:
        line = {
            "id": mutant.id,
            "package": package,
            "path": mutant.path,
            "line": mutant.line,
            "operator": mutant.operator,
            "before": mutant.before,
            "after": mutant.after,
            **answer,
        }
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            self.by_id[mutant.id] = line


class Worker:
    """A process that runs the tests of mutants, in its own copy of the project."""

    def __init__(self, package: str, tree: Path) -> None:
        self._package, self._tree = package, tree
        _copy_project(tree)
        environment = {
            **os.environ,
            **PACKAGES[package].environment,
            "PYTHONPATH": str(tree),
            "PYTHONDONTWRITEBYTECODE": "1",  # a stale .pyc of the same second and size would hide a mutant
            "OPENBLAS_NUM_THREADS": "1",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.mutation.worker", package],
            cwd=tree,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(
        self, mutant: Mutant | None, timeout_s: float, test_timeout_s: float, tests: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Runs tests on a mutant, or all on the unchanged package.

        Args:
            mutant: the mutant, or None.
            timeout_s: the time limit of all tests.
            test_timeout_s: the time limit of one test.
            tests: the tests to run, in this order; None runs all and records what each of them runs.
        """
        folder = PACKAGES[self._package].folder
        path = mutant.path if mutant else f"{folder}/__init__.py"
        original = (_ROOT / path).read_text(encoding="utf-8")
        task = {"path": path, "original": original, "source": mutant.source if mutant else original, "tests": tests}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(task | {"timeout_s": timeout_s, "test_timeout_s": test_timeout_s}) + "\n")
        self._process.stdin.flush()
        return _answer(self._process.stdout)

    def coverage(self) -> dict[str, TestCoverage]:
        """Returns which test runs what, after a run without a mutant."""
        return coverage.load(self._tree / COVERAGE)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(60)
        assert self._process.stdout is not None
        self._process.stdout.close()


def _answer(pipe: IO[str]) -> dict[str, Any]:
    line = pipe.readline()
    if not line:
        raise RuntimeError("the worker has ended; log.txt in its tree has its output")
    answer: dict[str, Any] = json.loads(line)
    return answer


def _copy_project(tree: Path) -> None:
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    for name in _COPIED:
        source = _ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__", "*.db", "work", "cache"))
        elif source.exists():
            shutil.copy(source, tree / name)
    compiling = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash", "rnnexp", "tests"]
    subprocess.run(compiling, cwd=tree, check=True)


def run_package(package: str, drawn: list[Mutant], results: Results, state: Path, workers: int, ends_at: float) -> None:
    """Tests the drawn mutants that have no result yet, until the time is over."""
    todo: queue.SimpleQueue[Mutant] = queue.SimpleQueue()
    for mutant in drawn:
        if mutant.id not in results.by_id:
            todo.put(mutant)
    if todo.empty():
        return
    errors: list[BaseException] = []
    tests = _record_coverage(package, state / f"tree-{package}-0")

    def serve(number: int) -> None:
        worker = Worker(package, state / f"tree-{package}-{number}")
        try:
            while time.monotonic() < ends_at:
                mutant = todo.get_nowait()
                chosen = coverage.covering_tests(mutant.path, mutant.line, tests)
                useful = [test for test in results.most_useful_tests(package) if test in chosen]
                order = list(dict.fromkeys([*useful, *chosen]))
                timeout_s = max(_MIN_TIMEOUT_S, _TIMEOUT_FACTOR * sum(tests[test].seconds for test in order))
                answer = {"outcome": "survived", "failed_test": None, "seconds": 0.0}  # no test runs it
                if order:
                    answer = worker.run(mutant, timeout_s, _TEST_TIMEOUT_S, order)
                results.add(package, mutant, answer)
        except queue.Empty:
            pass
        except BaseException as error:
            errors.append(error)
        finally:
            worker.close()

    threads = [threading.Thread(target=serve, args=(number,)) for number in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def _record_coverage(package: str, tree: Path) -> dict[str, TestCoverage]:
    """Runs all tests without a mutant; returns what each of them runs."""
    worker = Worker(package, tree)
    try:
        for _ in range(2):  # other load can delay a test that has a time limit
            if worker.run(None, _BASELINE_TIMEOUT_S, _BASELINE_TIMEOUT_S)["outcome"] == "survived":
                return worker.coverage()
        raise RuntimeError(f"{package}: the tests fail without a mutant; see log.txt in {tree}")
    finally:
        worker.close()


def report(package: str, drawn: list[Mutant], results: Results) -> bool:
    """Prints the score of a package and the mutants that survived; returns whether the score is high enough."""
    found = [results.by_id[mutant.id] for mutant in drawn if mutant.id in results.by_id]
    survived = [line for line in found if line["outcome"] == "survived"]
    score = 1 - len(survived) / len(found) if found else 0.0
    n_timeouts = sum(line["outcome"] == "timeout" for line in found)
    print(
        f"{package}: {len(found)} of {len(drawn)} mutants tested, {score:.1%} noticed "
        f"({n_timeouts} by the time limit), {len(survived)} survived"
    )
    for line in sorted(survived, key=lambda line: (line["path"], line["line"])):
        print(f"  {line['path']}:{line['line']} {line['operator']}: {line['before']!r} -> {line['after']!r}")
    return len(found) == len(drawn) and score >= _MIN_SCORE


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.mutation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--packages", nargs="+", choices=PACKAGES, default=list(PACKAGES), metavar="NAME")
    parser.add_argument("--number", type=int, default=200, help="mutants of each package (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="mutants at once (%(default)s)")
    parser.add_argument("--minutes", type=float, default=40, help="no mutant is started later (%(default)s)")
    parser.add_argument("--survivors", action="store_true", help="test mutants that survived again")
    parser.add_argument(
        "--state", type=Path, default=Path("build/mutation"), help="folder of the results (%(default)s)"
    )
    args = parser.parse_args()
    state: Path = args.state.absolute()
    state.mkdir(parents=True, exist_ok=True)
    results, ends_at = Results(state / "results.jsonl"), time.monotonic() + 60 * args.minutes
    if args.survivors:
        results.by_id = {key: line for key, line in results.by_id.items() if line["outcome"] != "survived"}
    good = True
    for package in args.packages:
        drawn = draw(package, args.number, args.seed)
        run_package(package, drawn, results, state, args.workers, ends_at)
        good &= report(package, drawn, results)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
