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
BY_LENGTH, WHOLE_GRADIENTS = "--by-length", "--whole-gradients"
"""Options of the plain loop: batches of similar length; gradients of repeated words added up first."""


@dataclass(frozen=True)
class Task:
    """One run of a contestant.

    Attributes:
        folder: for all files of the contestant.
        seed: the seed of the initial weights and of the order of batches.
        quick: use few short texts.
        order: the indices of the configurations in the order in which they start, the same for every contestant.
    """

    folder: Path
    seed: int
    quick: bool
    order: tuple[int, ...] = tuple(range(len(plain.CONFIGURATIONS)))

    @property
    def configurations(self) -> list[dict[str, Any]]:
        """The eight configurations, in order."""
        return [{**settings, **(_QUICK if self.quick else {})} for settings in plain.CONFIGURATIONS]

    def arguments(self) -> list[str]:
        """Returns the task as command-line arguments of a rival's program."""
        order = ",".join(map(str, self.order))
        required = ["--folder", str(self.folder), "--seed", str(self.seed), "--order", order]
        return required + (["--quick"] if self.quick else [])


def parse_arguments(arguments: Sequence[str] | None = None) -> tuple[Task, list[str]]:
    """Returns the task from the command line (or from these arguments), and the remaining arguments."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--order", type=lambda text: tuple(map(int, text.split(","))), required=True)
    args, others = parser.parse_known_args(arguments)
    return Task(args.folder, args.seed, args.quick, args.order), others


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
