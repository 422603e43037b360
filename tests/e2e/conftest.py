"""Runs the program as users do: in processes, with real databases, on generated texts."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SWEEP = """
study: small
sampler: {name: random, seed: 5}
pruner: {name: none}
budget: {trials: 3}
base:
  data: {name: reviews, train_samples: 600, maxlen: 60}
  model: {embedding_dim: 8}
  train: {epochs: 2, batch_size: 64, learning_rate: 0.01}
try: [{model.cell: gru, model.units: 12}]
space:
  model.cell: {choice: [simple_rnn, gru]}
  model.units: {int: [4, 16]}
keep: {checkpoints: 1}
"""


def rnnexp(
    *arguments: str, cwd: Path | None = None, stdin: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs the program; a failure is in the return code."""
    return subprocess.run(
        [sys.executable, "-m", "rnnexp", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        input=stdin if stdin is not None else "",
        env={**os.environ, **environment},
        timeout=600,
    )


@dataclass(frozen=True)
class Ran:
    """A home in which the small sweep has been run."""

    home: Path
    file: Path
    output: str

    def __call__(self, *arguments: str, **keywords: Any) -> str:
        """Runs a command on this home; returns what it printed."""
        done = rnnexp(*arguments, "--home", str(self.home), **keywords)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json"))


def sweep(root: Path, text: str, *arguments: str) -> Ran:
    """Writes and runs a sweep file."""
    file = root / "sweep.yaml"
    file.write_text(text)
    done = rnnexp("sweep", str(file), "--home", str(root / "home"), *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return Ran(root / "home", file, done.stdout)


class BackgroundCommand:
    """The program in a process group of its own, as a terminal starts it."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rnnexp", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []

    def read_until(self, text: str) -> None:
        """Reads lines until one contains the text."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if text in line:
                return
        raise AssertionError(f"{text!r} was never printed:\n{''.join(self.lines)}")

    def end(self) -> int:
        """Reads the rest and waits; returns the exit code."""
        assert self.process.stdout is not None
        self.lines += self.process.stdout.readlines()
        self.process.stdout.close()
        return self.process.wait(60)


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The small sweep, run once for all tests that do not change it."""
    return sweep(tmp_path_factory.mktemp("small"), SWEEP)


@pytest.fixture(scope="session")
def bundle(ran: Ran, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small sweep's best model, exported."""
    to = tmp_path_factory.mktemp("export") / "best"
    ran("export", "small", "--to", str(to))
    return to


def one_line(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Asserts that wrong input gave exit code 2 and one line on standard error that contains the words."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stdout == ""
    missing = [word for word in words if word not in done.stderr]
    assert not missing, done.stderr


def tree(root: Path) -> Sequence[str]:
    """Returns the paths of everything below a folder."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))
