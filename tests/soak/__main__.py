"""Runs long studies and checks that the supervisor leaks nothing: memory, file descriptors, files, processes.

python -m tests.soak --instant 10000 --small 300      some twenty minutes on two cores; Linux

First a study of instant trials (everything but the training is real), then one of small real trials on two workers.
An interrupted soak starts again from nothing; the folder of a soak with problems is kept.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rnnexp.home import Home
from tests.benchmarks.scale.study import NAME as INSTANT_STUDY
from tests.drill.processes import wait_until_gone
from tests.soak.leftovers import leftovers
from tests.soak.memory import Growth, bytes_per_listed_trial
from tests.soak.watch import Sample, watch

_SMALL_STUDY = "soak"
_SMALL_SWEEP = f"""
study: {_SMALL_STUDY}
sampler: {{name: random, seed: 3}}
pruner: {{name: none}}
budget: {{trials: 10}}
base:
  data: {{name: reviews, train_samples: 400, maxlen: 40, vocab_size: 300}}
  model: {{embedding_dim: 8}}
  train: {{epochs: 2, batch_size: 64}}
space:
  model.cell: {{choice: [simple_rnn, gru, lstm]}}
  model.units: {{int: [4, 24]}}
  train.learning_rate: {{float: [0.001, 0.03], log: true}}
keep: {{checkpoints: 3}}
"""


def run_instant(root: Path, n_trials: int, start: int) -> list[str]:
    """Runs a study of instant trials; returns its problems.

    Args:
        root: an empty folder.
        n_trials: the budget.
        start: memory is compared from this trial on; before it, libraries still fill their caches.
    """
    home = Home.at(root / "home")
    command = [sys.executable, "-m", "tests.benchmarks.scale.study", str(home.root)]
    command += ["--trials", str(n_trials), "--workers", "2"]
    return _run(root, command, home, INSTANT_STUDY, n_trials, start)


def run_small(root: Path, n_trials: int, start: int) -> list[str]:
    """Runs a study of small real trials on two workers; returns its problems. The arguments are `run_instant`'s."""
    home, file = Home.at(root / "home"), root / "sweep.yaml"
    file.write_text(_SMALL_SWEEP)
    command = [sys.executable, "-m", "rnnexp", "sweep", str(file), "--home", str(home.root)]
    command += ["--trials", str(n_trials), "--workers", "2"]
    return _run(root, command, home, _SMALL_STUDY, n_trials, start)


def _run(root: Path, command: list[str], home: Home, study: str, n_trials: int, start: int) -> list[str]:
    temporary = root / "tmp"
    temporary.mkdir()
    with (root / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, "TMPDIR": str(temporary)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        samples = watch(process, home.study(study).trials)
    problems = [f"exit code {process.returncode}; see {root / 'output.txt'}"] if process.returncode else []
    problems += [f"still alive: {left}" for left in wait_until_gone([process.pid], 20)]
    problems += [f"left over: {path}" for path in leftovers(home, study, temporary)]
    growth = Growth.between(samples, start)
    per_listed = bytes_per_listed_trial(home, study)
    print(_figures(study, n_trials, samples, growth, per_listed), flush=True)
    return problems + growth.problems(per_listed)


def _figures(study: str, n_trials: int, samples: Sequence[Sample], growth: Growth, per_listed: float) -> str:
    first, last = f"{growth.first_bytes / 2**20:.0f} MiB", f"{growth.last_bytes / 2**20:.0f} MiB"
    return (
        f"{study}: {n_trials} trials; memory {first} at trial {growth.first_trial}, {last} at trial "
        f"{growth.last_trial}: {growth.bytes_per_trial:,.0f} bytes a trial; a listed trial needs {per_listed:,.0f} "
        f"bytes; file descriptors {growth.first_fds} and {growth.last_fds}, "
        f"at most {max(sample.n_fds for sample in samples)}"
    )


def main() -> int:
    """Runs both studies; returns 1 if there is a problem."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--instant", type=int, default=10_000, metavar="N", help="number of instant trials (%(default)s)"
    )
    parser.add_argument("--small", type=int, default=300, metavar="N", help="number of small trials (%(default)s)")
    args = parser.parse_args()
    if sys.platform != "linux":
        print("the soak reads /proc, which only Linux has; nothing was run")
        return 0
    root = Path(tempfile.mkdtemp(prefix="rnnexp-soak-"))
    problems: list[str] = []
    for name, run, n_trials, start in (
        ("instant", run_instant, args.instant, 500),
        ("small", run_small, args.small, 50),
    ):
        if n_trials:
            folder = root / name
            folder.mkdir()
            problems += [f"{name}: {problem}" for problem in run(folder, n_trials, min(start, n_trials // 2))]
    for problem in problems:
        print(f"PROBLEM  {problem}")
    if problems:
        print(f"the files are kept in {root}")
        return 1
    shutil.rmtree(root)
    print("no problem")
    return 0


if __name__ == "__main__":
    sys.exit(main())
