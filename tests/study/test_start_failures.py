"""Starts that the environment refuses: pauses, the end of the sweep, and what they cost."""

import errno
import itertools
import os
import time
from pathlib import Path
from typing import Any

import pytest

from rnnexp.study.start_failures import MAX_IN_A_ROW, StartFailures
from rnnexp.trial import events
from rnnexp.trial.events import AttemptEnded
from rnnexp.trial.process import LOCKED
from rnnexp.trial.states import State
from tests.study.fakes import FakeExecutor
from tests.study.small_study import Study


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


class FastClock:
    """A clock on which a second takes a hundredth."""

    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic() * 100


def test_a_process_that_cannot_be_started_is_started_again_after_growing_pauses(study: Study) -> None:
    executor, clock, submitted_at = FakeExecutor(), FastClock(), []
    submit = executor.submit

    def refuse(number: int, job: Any) -> None:
        if len(submitted_at) < 5:
            submitted_at.append(clock.monotonic())
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        submit(number, job)

    executor.submit = refuse  # type: ignore[method-assign]
    outcome = study.run(executor, clock=clock, limits__retries=0, limits__consecutive_failures=1)
    assert not outcome.halt_reason
    assert study.states() == [State.COMPLETE] * 4
    pauses = [later - earlier for earlier, later in itertools.pairwise(submitted_at)]
    assert [least <= pause for least, pause in zip((1, 2, 4, 8), pauses, strict=True)] == [True] * 4
    closed = [event for event in events.read(study.home.study("s").trial(0).events) if isinstance(event, AttemptEnded)]
    assert "could not be started" in closed[0].reason


@pytest.mark.integration
def test_an_environment_that_stays_unfit_ends_the_sweep_with_all_trials_waiting(study: Study) -> None:
    executor = FakeExecutor(n_slots=2)
    executor.refuses = dict.fromkeys(range(99), 99)
    outcome = study.run(executor, clock=FastClock(), limits__retries=0, limits__consecutive_failures=1)
    assert "10 starts of trials failed one after another" in outcome.halt_reason
    assert "Resource temporarily unavailable" in outcome.halt_reason
    assert set(study.states()) == {State.WAITING}
    study.run(FakeExecutor())
    assert study.states() == [State.COMPLETE] * 4


def test_processes_that_end_before_they_train_cost_nothing(study: Study) -> None:
    executor = FakeExecutor(n_slots=2)
    executor.never_starts = {0: [-9, 1, LOCKED, 1], 1: [1, 1, 1]}
    outcome = study.run(executor, clock=FastClock(), limits__retries=0, limits__consecutive_failures=1)
    assert not outcome.halt_reason
    assert study.states() == [State.COMPLETE] * 4


def test_a_trial_whose_process_is_always_killed_before_it_trains_fails_alone(study: Study) -> None:
    executor = FakeExecutor(n_slots=1)
    executor.never_starts = {1: [-9] * 99}
    outcome = study.run(executor, clock=FastClock(), limits__retries=1)
    assert not outcome.halt_reason
    assert study.states() == [State.COMPLETE, State.FAIL, State.COMPLETE, State.COMPLETE]
    assert study.view.trials[1].reason == "its process was killed by SIGKILL, 2 times"


def test_the_starts_of_one_moment_are_one_failure() -> None:
    starts = StartFailures()
    for number in range(2 * MAX_IN_A_ROW):
        assert starts.add(number, started_at=0.0, now=1.0 + 0.01 * number) <= 1.0
    assert starts.is_paused(1.5)
    assert not starts.is_paused(2.5)
    assert not starts.is_hopeless
    now = 2.5
    for _ in range(MAX_IN_A_ROW - 1):
        now += starts.add(0, started_at=now, now=now)
    assert starts.is_hopeless
    assert 300 < now < 600
    starts.reset(0)
    assert not starts.is_hopeless
    assert not starts.is_paused(now - 1)


def test_the_third_kill_of_one_trial_before_it_trains_is_not_the_environments() -> None:
    failures = StartFailures()
    for now in (0.0, 10.0, 20.0):
        assert failures.may_be_killed_again(7)
        failures.add(7, started_at=now, now=now + 1)
    assert not failures.may_be_killed_again(7)
    assert failures.may_be_killed_again(8), "another trial"
    failures.reset(7)
    assert failures.may_be_killed_again(7)
