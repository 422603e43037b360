"""The interface of every contestant: it receives the eight configurations and prints their accuracies."""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks import plain

_QUICK = {"maxlen": 16, "n_train": 512}

REUSE_WORKERS = "--reuse"
"""Option of the Ray Tune program: a worker process runs several trials, one after another."""


@dataclass(frozen=True)
class Task:
    """One run of a contestant.

    Attributes:
        folder: for all files of the contestant.
        seed: the seed of the initial weights and of the order of batches.
        quick: use few short texts.
    """

    folder: Path
    seed: int
    quick: bool

    @property
    def configurations(self) -> list[dict[str, Any]]:
        """The eight configurations, in order."""
        return [{**settings, **(_QUICK if self.quick else {})} for settings in plain.CONFIGURATIONS]

    def arguments(self) -> list[str]:
        """Returns the task as command-line arguments of a rival's program."""
        return ["--folder", str(self.folder), "--seed", str(self.seed), *(["--quick"] if self.quick else [])]


def parse_arguments() -> tuple[Task, list[str]]:
    """Returns the task from the command line, and the remaining arguments."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--quick", action="store_true")
    args, others = parser.parse_known_args()
    return Task(args.folder, args.seed, args.quick), others


class PartTimer:
    """Measures the consecutive parts of a program."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def end(self, name: str) -> None:
        """Ends the current part under this name; the next part starts."""
        now = time.perf_counter()
        self.seconds[name], self._start = now - self._start, now


def print_result(accuracies: Sequence[float], parts: PartTimer) -> None:
    """Prints the best validation accuracy of each configuration, in order, and the seconds of the parts."""
    print(json.dumps({"accuracies": list(accuracies), "parts": parts.seconds}), flush=True)
