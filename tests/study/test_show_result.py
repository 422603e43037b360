"""The result is shown when no trial runs any more, before the sender sends what is left."""

from pathlib import Path

import pytest

from rnnexp.study.stopping import Outcome
from rnnexp.trial.states import State
from tests.study.fakes import FakeExecutor, FakeSender
from tests.study.small_study import Study


class RecordingSender(FakeSender):
    """Remembers when it was closed, among other calls."""

    def __init__(self, calls: list[str]) -> None:
        super().__init__()
        self._calls = calls

    def close(self, timeout_s: float) -> list[int]:
        self._calls.append("the sender is closed")
        return [1]


@pytest.fixture
def calls() -> list[str]:
    return []


@pytest.fixture
def study(tmp_path: Path, calls: list[str]) -> Study:
    found = Study(tmp_path)
    found.sender = RecordingSender(calls)
    return found


def test_the_result_is_shown_before_the_last_records_are_sent(study: Study, calls: list[str]) -> None:
    def show(outcome: Outcome) -> None:
        assert study.states() == [State.COMPLETE] * 4
        calls.append(f"shown: {outcome.signal}, {outcome.unsent}")

    outcome = study.run(FakeExecutor(), show=show)
    assert calls == ["shown: None, []", "the sender is closed"]
    assert outcome.unsent == [1]


def test_an_interrupted_study_is_shown_as_one(study: Study) -> None:
    shown: list[Outcome] = []
    study.run(FakeExecutor(), {(0, 2): 2}, show=shown.append)
    assert [outcome.signal for outcome in shown] == [2]


def test_the_last_records_are_sent_even_if_nobody_reads_the_result(study: Study, calls: list[str]) -> None:
    def show(_: Outcome) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        study.run(FakeExecutor(), show=show)
    assert calls == ["the sender is closed"]
