"""What every benchmark gives back: rows for a table, and targets that it met or missed."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STATE = Path("build/benchmarks")
"""Where results and recordings stay; `--state` names another folder."""


@dataclass(frozen=True)
class Target:
    """A figure and what it is held to.

    Attributes:
        name: what is measured.
        value: what came out.
        bound: what it is held to.
        at_least: whether the bound is the least value allowed; else it is the most.
        why_missed: the reason, in words, where the bound is missed and the reason is known.
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
    """What a benchmark found.

    Attributes:
        name: a word, as `--only` takes it.
        title: a line.
        rows: a table, each row with the same keys.
        targets: what the issue of speed is held to.
        notes: lines under the table: how to read it, what was left out.
        details: what the table has no room for; it is in the JSON file.
    """

    name: str
    title: str
    rows: Sequence[Mapping[str, Any]]
    targets: Sequence[Target] = ()
    notes: Sequence[str] = field(default_factory=tuple)
    details: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Options:
    """How to run.

    Attributes:
        state: results and recordings stay here.
        rounds: how often each timing is taken, in turn with what it is compared to.
        quick: small, to see whether it runs; the figures mean nothing.
    """

    state: Path
    rounds: int
    quick: bool


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def wall_s(command: Sequence[str], **kwargs: Any) -> float:
    """Returns the seconds that a process takes; raises with its output where it fails."""
    return timed(command, **kwargs)[0]


def timed(command: Sequence[str], **kwargs: Any) -> tuple[float, str]:
    """Returns the seconds that a process takes, and what it prints; raises with its output where it fails."""
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False, **kwargs)
    taken = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
        )
    return taken, done.stdout


def in_turn(rounds: int, *timed: Callable[[], float]) -> list[list[float]]:
    """Returns each one's timings, taken one after the other in every round, so that noise falls on all alike."""
    taken: list[list[float]] = [[] for _ in timed]
    for _ in range(rounds):
        for measure, found in zip(timed, taken, strict=True):
            found.append(measure())
    return taken


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns rows as Markdown."""
    if not rows:
        return "(nothing)"
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "| " + " | ".join("---" for _ in names) + " |"]
    lines += ["| " + " | ".join(_shown(row[name]) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def users_environment() -> dict[str, str]:
    """Returns the environment without what test machines set and users do not.

    `PYTHONDONTWRITEBYTECODE` has uncompiled packages compiled at every start; `OPENBLAS_…` pins NumPy's products to
    another processor's kernels, so that results are the same everywhere, at half the rate that this one gives.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if name != "PYTHONDONTWRITEBYTECODE" and not name.startswith("OPENBLAS_")
    }


def python(*args: str) -> list[str]:
    """Returns a command for this Python."""
    return [sys.executable, *args]
