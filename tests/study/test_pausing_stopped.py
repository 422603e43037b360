"""Studies with paused trials that are stopped and started again."""

import signal
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from rnnexp.study.supervisor import Supervisor
from rnnexp.trial.states import State
from tests.study.small_study import Study
from tests.study.test_pausing import executor, new_study

pytestmark = pytest.mark.integration  # each test runs several studies


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return new_study(tmp_path)


def test_a_stop_while_the_paused_trials_end_leaves_the_others_paused(study: Study) -> None:
    study.run(executor())
    expected = study.states().count(State.PRUNED)
    assert expected > 1
    other = new_study(study.home.root.parent / "other")
    supervisors: list[Any] = []

    def stop_at_first(number: int, state: State, value: float | None, reason: str) -> None:
        if state is State.PRUNED:
            supervisors[0].receive_signal(signal.SIGTERM)

    other.reporter.ended = stop_at_first  # type: ignore[method-assign]
    run_and_keep(other, supervisors)
    assert other.states().count(State.PRUNED) == 1
    other.reporter.ended = lambda *_: None  # type: ignore[method-assign]
    other.run(executor())
    assert other.states() == study.states()


def test_the_estimate_uses_paused_trials(study: Study) -> None:
    study.run(executor(), signals={(3, 1): signal.SIGTERM})
    assert study.view.count(State.WAITING) > 1
    study.reporter.snapshots.clear()
    study.run(executor(), signals={(3, 2): signal.SIGTERM})
    assert study.reporter.snapshots[0].seconds_left is not None, "no trial is finished, but some are paused"


def run_and_keep(study: Study, supervisors: list[Any]) -> None:
    """Runs a study; its supervisor is in the list while it runs."""
    with mock.patch("tests.study.small_study.Supervisor") as patched:
        patched.side_effect = lambda *arguments, **keywords: (
            supervisors.append(Supervisor(*arguments, **keywords)) or supervisors[0]  # type: ignore[func-returns-value]
        )
        study.run(executor())
