"""The first trial waits until the forkserver is ready. That time counts towards none of the trial's limits."""

import time
from pathlib import Path

import pytest

from rnnexp.engine.executor import Message
from rnnexp.trial.job import Place, TrialJob
from rnnexp.trial.states import State
from tests.study.fakes import FakeExecutor
from tests.study.small_study import Study


class SlowForkExecutor(FakeExecutor):
    """Submitting the first trial takes long. After that, the first poll returns no message."""

    polled = False

    def submit(self, job: TrialJob, place: Place) -> None:
        if not self.submitted:
            time.sleep(0.6)
        super().submit(job, place)

    def poll(self, timeout_s: float) -> list[Message]:
        if not self.polled:
            self.polled = True
            return []
        return super().poll(timeout_s)


@pytest.mark.parametrize("limit", ["limits__silence_s", "limits__trial_s"])
def test_a_slow_start_counts_towards_no_limit(tmp_path: Path, limit: str) -> None:
    study = Study(tmp_path)
    study.run(SlowForkExecutor(n_slots=1), **{limit: 0.5, "limits__retries": 0})
    assert study.states() == [State.COMPLETE] * 4
