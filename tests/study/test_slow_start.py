"""The first trial of a start waits for the process that forks; no limit of its own is spent on that."""

import time
from pathlib import Path

import pytest

from rnnexp.engine.executor import Message
from rnnexp.trial.process import TrialJob
from rnnexp.trial.states import State
from tests.study.fakes import FakeExecutor
from tests.study.test_supervisor import Study


class SlowToFork(FakeExecutor):
    """Its first trial takes a while to be started, and then a moment until its first word."""

    polled = False

    def submit(self, number: int, job: TrialJob) -> None:
        if not self.submitted:
            time.sleep(0.6)
        super().submit(number, job)

    def poll(self, timeout_s: float) -> list[Message]:
        if not self.polled:
            self.polled = True
            return []
        return super().poll(timeout_s)


@pytest.mark.parametrize("limit", ["limits__silence_s", "limits__trial_s"])
def test_a_slow_start_is_no_silence_and_no_time_of_the_trial(tmp_path: Path, limit: str) -> None:
    study = Study(tmp_path)
    study.run(SlowToFork(n_slots=1), **{limit: 0.5, "limits__retries": 0})
    assert study.states() == [State.COMPLETE] * 4
