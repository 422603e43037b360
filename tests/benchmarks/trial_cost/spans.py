"""Spans of time, taken from outside by wrapping functions; every process writes its own into one folder."""

import functools
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FOLDER = "RNNEXP_BENCH_SPANS"
"""The environment variable that names the folder."""


@dataclass(frozen=True)
class Span:
    """A call.

    Attributes:
        label: what was called.
        trial: the number of the trial that it was for, -1 where it is not known.
        begin: seconds on the machine's monotonic clock, the same for all processes.
        end: likewise.
    """

    label: str
    trial: int
    begin: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.begin


_spans: list[Span] = []
_trial = -1


def for_trial(number: int) -> None:
    """Says which trial this process is for, where it is for one alone."""
    global _trial
    _trial = number


def add(label: str, begin: float, trial: int | None = None) -> None:
    """Records a span that ends now."""
    _spans.append(Span(label, _trial if trial is None else trial, begin, time.monotonic()))


def timed(
    function: Callable[..., Any], label: str, trial_of: Callable[[tuple[Any, ...], Any], int] | None = None
) -> Any:
    """Returns the function with its calls recorded.

    Args:
        function: any.
        label: of its spans.
        trial_of: returns the trial from the arguments and the result; where not given, the process' own.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        begin = time.monotonic()
        result = function(*args, **kwargs)
        add(label, begin, trial_of(args, result) if trial_of else None)
        return result

    return call


def timed_items(items: Iterator[Any], label: str, begin: float) -> Iterator[Any]:
    """Yields the items; the time until each is there is recorded, the first one's from `begin`."""
    for item in items:
        add(label, begin)
        yield item
        begin = time.monotonic()


def flush() -> None:
    """Writes what this process has recorded."""
    with (Path(os.environ[FOLDER]) / f"{os.getpid()}.jsonl").open("a") as file:
        file.writelines(json.dumps(asdict(span)) + "\n" for span in _spans)
    _spans.clear()


def read(folder: Path) -> list[Span]:
    """Returns all processes' spans, in the order of their beginnings."""
    lines = [line for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()]
    return sorted((Span(**json.loads(line)) for line in lines), key=lambda span: span.begin)
