"""What all benchmarks share: options, results with targets, timing of processes, tables.

It imports the standard library only, because the rivals' Python imports it too.
"""

import hashlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.benchmarks.budget import UNLIMITED, TimeShare

STATE = Path("build/benchmarks")
"""The default folder for results and recordings; `--state` names another one."""


@dataclass(frozen=True)
class Target:
    """A measured figure and its bound.

    Attributes:
        name: what was measured.
        value: the figure.
        bound: the bound.
        at_least: whether the bound is a minimum; otherwise it is a maximum.
        why_missed: the reason, if the bound is missed and the reason is known.
    """

    name: str
    value: float
    bound: float
    at_least: bool = True
    why_missed: str = ""

    @property
    def met(self) -> bool:
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def __str__(self) -> str:
        sign = "≥" if self.at_least else "≤"
        missed = "" if self.met else f"  MISSED{f': {self.why_missed}' if self.why_missed else ''}"
        return f"{self.name}: {self.value:.3g} ({sign} {self.bound:g}){missed}"


@dataclass(frozen=True)
class Result:
    """The result of a benchmark.

    Attributes:
        name: the benchmark's name for `--only`.
        title: the heading of its table.
        rows: the table; all rows have the same keys.
        targets: the figures that have a bound.
        notes: lines below the table: how to read it, what was left out.
        details: further figures, for the JSON file only.
    """

    name: str
    title: str
    rows: Sequence[Mapping[str, Any]]
    targets: Sequence[Target] = ()
    notes: Sequence[str] = field(default_factory=tuple)
    details: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Options:
    """The options of a benchmark.

    Attributes:
        state: the folder for results and recordings.
        rounds: how often each timing is repeated, interleaved with what it is compared to.
        quick: small inputs, to check that the benchmark runs; the figures mean nothing.
        seeds: how many seeds the accuracies are compared over.
        contestants: the short names of the contestants of `rivals` and `accuracy`; empty for all.
        share: the time that the benchmark may take.
    """

    state: Path
    rounds: int
    quick: bool
    seeds: int = 8
    contestants: tuple[str, ...] = ()
    share: TimeShare = UNLIMITED

    def stored(self, stem: str, suffix: str = "") -> Path:
        """Returns the place of stored measurements; those of small inputs are separate."""
        return self.state / f"{stem}{'-quick' if self.quick else ''}{suffix}"


class UnavailableError(RuntimeError):
    """A benchmark lacks something that it needs: a data set, a recording. The other benchmarks can run."""


def program_digest() -> str:
    """Returns a digest of the program's sources: stored measurements of another program are not used."""
    root = Path(__file__).resolve().parents[2] / "rnnexp"
    digest = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def wall_s(command: Sequence[str], **kwargs: Any) -> float:
    """Runs a process; returns its wall-clock seconds.

    Raises:
        RuntimeError: with the output, if the process fails.
    """
    return run_timed(command, **kwargs)[0]


def run_timed(command: Sequence[str], **kwargs: Any) -> tuple[float, str]:
    """Runs a process; returns its wall-clock seconds and its standard output.

    Raises:
        RuntimeError: with the output, if the process fails.
    """
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, **kwargs)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
        )
    return seconds, done.stdout


def interleaved(n_rounds: int, *measures: Callable[[], float], share: TimeShare = UNLIMITED) -> list[list[float]]:
    """Returns the timings of each measure. Every round runs all measures, so that noise affects all of them alike.

    If another round does not fit into the share of time, the timings have fewer rounds, but at least one.
    """
    timings: list[list[float]] = [[] for _ in measures]
    for done in range(n_rounds):
        if done and not share.allows(sum(sum(values) for values in timings) / done):
            break
        for measure, values in zip(measures, timings, strict=True):
            values.append(measure())
    return timings


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns rows as a Markdown table."""
    if not rows:
        return "(no rows)"
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "| " + " | ".join("---" for _ in names) + " |"]
    lines += ["| " + " | ".join(_format(row[name]) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def _format(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def users_environment() -> dict[str, str]:
    """Returns the environment without variables that test machines set and users do not.

    `PYTHONDONTWRITEBYTECODE` makes Python compile packages at every start if they are not compiled yet. `OPENBLAS_…`
    selects kernels of another processor for NumPy's matrix products: results are then equal on all machines, but the
    rate is half of what this processor reaches.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if name != "PYTHONDONTWRITEBYTECODE" and not name.startswith("OPENBLAS_")
    }


def python_command(*args: str) -> list[str]:
    """Returns a command for the running Python."""
    return [sys.executable, *args]
