"""Time spans of wrapped functions; every process writes its own spans into one folder."""

import functools
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FOLDER = "RNNEXP_BENCH_SPANS"
"""The environment variable with the path of the folder."""


@dataclass(frozen=True)
class Span:
    """One call of a function.

    Attributes:
        label: the label of the function.
        trial: the number of the trial that the call belongs to; -1 if it is unknown.
        begin: seconds of the monotonic clock, which all processes of the machine share.
        end: seconds of the same clock.
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


def set_trial(number: int) -> None:
    """Sets the trial of all further spans of this process."""
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
        function: any function.
        label: the label of its spans.
        trial_of: returns the trial from the arguments and the result; without it, the trial of the process is used.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        begin = time.monotonic()
        result = function(*args, **kwargs)
        add(label, begin, trial_of(args, result) if trial_of else None)
        return result

    return call


def timed_items(items: Iterator[Any], label: str, begin: float) -> Iterator[Any]:
    """Yields the items and records the time until each is available; that of the first counts from `begin`."""
    for item in items:
        add(label, begin)
        yield item
        begin = time.monotonic()


def flush() -> None:
    """Writes the recorded spans of this process."""
    with (Path(os.environ[FOLDER]) / f"{os.getpid()}.jsonl").open("a") as file:
        file.writelines(json.dumps(asdict(span)) + "\n" for span in _spans)
    _spans.clear()


def read(folder: Path) -> list[Span]:
    """Returns the spans of all processes, sorted by their begin."""
    lines = [line for path in folder.glob("*.jsonl") for line in path.read_text().splitlines()]
    return sorted((Span(**json.loads(line)) for line in lines), key=lambda span: span.begin)
