"""Runs `rnnexp` with timers in the supervisor and, through `inside`, in its trials."""

import sys
import time
from typing import Any

from tests.benchmarks.trial_cost import patch_points, spans
from tests.benchmarks.trial_cost.spans import timed


def main() -> int:
    from rnnexp.cli import main as rnnexp

    _add_timers()
    try:
        return rnnexp()
    finally:
        spans.flush()


def _add_timers() -> None:
    from rnnexp.engine.executor import Exited

    def first_argument(args: tuple[Any, ...], _: Any) -> int:
        return int(args[1])

    trial_of = {
        "submit": lambda args, _: args[1].number,
        "ask": lambda _, request: request.number,
        "tell": first_argument,
        "settings file": lambda args, _: args[1].number,
        "mlflow": first_argument,
    }
    """How the number of the trial is found from the arguments (after self) and the result."""
    for label, path in patch_points.SUPERVISOR.items():
        patch_points.replace(path, lambda function, label=label: timed(function, label, trial_of[label]))
    patch_points.replace(patch_points.PRELOAD, lambda _: "tests.benchmarks.trial_cost.inside")

    def timed_poll(poll: Any) -> Any:
        def call(executor: Any, timeout_s: float) -> Any:
            messages = poll(executor, timeout_s)
            for number, message in messages:
                if isinstance(message, Exited):
                    spans.add("exited", time.monotonic(), number)
            return messages

        return call

    patch_points.replace(patch_points.POLL, timed_poll)


if __name__ == "__main__":
    sys.exit(main())
