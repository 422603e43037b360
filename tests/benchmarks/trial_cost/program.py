"""`rnnexp`, with timers in the supervisor, and with those of `inside` in its trials."""

import sys
import time
from typing import Any

from tests.benchmarks.trial_cost import spans
from tests.benchmarks.trial_cost.spans import timed


def main() -> int:
    from rnnexp.cli import main as rnnexp
    from rnnexp.engine import local
    from rnnexp.engine.executor import Exited
    from rnnexp.storage.store import StudyStore
    from rnnexp.study.records import TrialRecords
    from rnnexp.tracking.projection import Projection

    def first(args: tuple[Any, ...], _: Any) -> int:
        return int(args[1])

    local._PRELOAD = "tests.benchmarks.trial_cost.inside"
    local.LocalExecutor.submit = timed(local.LocalExecutor.submit, "submit", first)  # type: ignore[method-assign]
    StudyStore.ask = timed(StudyStore.ask, "ask", lambda _, asked: asked.number)  # type: ignore[method-assign]
    StudyStore.tell = timed(StudyStore.tell, "tell", first)  # type: ignore[method-assign]
    TrialRecords.begin = timed(TrialRecords.begin, "settings file", lambda args, _: args[1].number)  # type: ignore[method-assign]
    Projection.replay = timed(Projection.replay, "mlflow", first)  # type: ignore[method-assign]
    poll = local.LocalExecutor.poll

    def hear(executor: local.LocalExecutor, timeout_s: float) -> Any:
        messages = poll(executor, timeout_s)
        for number, message in messages:
            if isinstance(message, Exited):
                spans.add("exited", time.monotonic(), number)
        return messages

    local.LocalExecutor.poll = hear  # type: ignore[method-assign]
    try:
        return rnnexp()
    finally:
        spans.flush()


if __name__ == "__main__":
    sys.exit(main())
