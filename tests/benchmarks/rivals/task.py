"""What every contestant is given, and how it answers: the eight configurations in, their accuracies out."""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks import plain

_QUICK = {"maxlen": 16, "n_reviews": 512}


REUSE = "--reuse"
"""Said to Ray Tune: use a worker's process for the next trial too."""


@dataclass(frozen=True)
class Task:
    """One run.

    Attributes:
        folder: for whatever the contestant writes.
        seed: of the initial weights and the order of batches.
        quick: few short reviews.
    """

    folder: Path
    seed: int
    quick: bool

    @property
    def configurations(self) -> list[dict[str, Any]]:
        """The eight, in their order."""
        return [{**settings, **(_QUICK if self.quick else {})} for settings in plain.EIGHT]

    def arguments(self) -> list[str]:
        """Returns the task as a rival's program is told it."""
        return ["--folder", str(self.folder), "--seed", str(self.seed), *(["--quick"] if self.quick else [])]


def told() -> tuple[Task, list[str]]:
    """Returns the task that this process was told, and what more was said."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--quick", action="store_true")
    args, more = parser.parse_known_args()
    return Task(args.folder, args.seed, args.quick), more


class Parts:
    """The seconds of a program's parts, one after the other."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def end(self, name: str) -> None:
        """Says that a part is over, and the next one begins."""
        now = time.perf_counter()
        self.seconds[name], self._began = now - self._began, now


def answer(accuracies: Sequence[float], parts: Parts) -> None:
    """Prints the best validation accuracy of each configuration, in their order."""
    print(json.dumps({"accuracies": list(accuracies), "parts": parts.seconds}), flush=True)
