from pathlib import Path

from rnnexp.home import StudyFolder
from rnnexp.study.records import TrialRecords, is_terminal, pending_result
from rnnexp.trial import events
from rnnexp.trial.events import AttemptEnded, EpochEnded, Event, Evicted, Failed, Finished, Started
from rnnexp.trial.states import State

STARTED = Started(0.0, 1, 0, 1, 10, {}, {})
FINISHED = Finished(1.0, "epochs", 1, {"val_accuracy": 0.9}, 10, 1.0)
BUG, OUT_OF_MEMORY = Failed(1.0, "error", "ValueError: broken"), Failed(1.0, "memory", "MemoryError")
LOST = AttemptEnded(2.0, State.WAITING, "supervisor lost")
LOST_BEFORE_NOVEMBER_2026 = AttemptEnded(2.0, State.WAITING, "cut off")
INTERRUPTED = AttemptEnded(2.0, State.WAITING, "interrupted")


def test_an_attempt_without_a_result_has_no_pending_result() -> None:
    assert pending_result([]) is None
    assert pending_result([STARTED]) is None
    assert pending_result([FINISHED, STARTED]) is None


def test_a_result_that_was_not_processed_is_pending() -> None:
    results: list[Finished | Failed] = [FINISHED, BUG, OUT_OF_MEMORY]
    for result in results:
        assert pending_result([STARTED, result]) == result


def test_a_processed_result_is_not_pending() -> None:
    closed: list[Event] = [AttemptEnded(2.0, State.COMPLETE), INTERRUPTED]
    for event in closed:
        assert pending_result([STARTED, FINISHED, event]) is None


def test_after_a_lost_supervisor_only_a_terminal_result_is_pending() -> None:
    """The lost supervisor may have counted the retry of another failure; it must not be counted twice."""
    for lost in (LOST, LOST_BEFORE_NOVEMBER_2026):
        assert pending_result([STARTED, FINISHED, lost]) == FINISHED
        assert pending_result([STARTED, BUG, lost]) == BUG
        assert pending_result([STARTED, OUT_OF_MEMORY, lost]) is None


def test_a_result_is_terminal_if_the_policy_fails_the_trial() -> None:
    assert is_terminal(FINISHED)
    assert is_terminal(BUG)
    assert not is_terminal(OUT_OF_MEMORY)


def test_an_eviction_after_the_closing_event_leaves_the_record_closed() -> None:
    closing = AttemptEnded(2.0, State.COMPLETE)
    assert events.is_closed([STARTED, FINISHED, closing, Evicted(3.0)], State.COMPLETE)
    assert not events.is_closed([STARTED, FINISHED, closing], State.PRUNED)
    assert not events.is_closed([STARTED, FINISHED], State.COMPLETE)


def test_a_paused_trial_without_an_epoch_or_a_start_cannot_end_with_a_result(tmp_path: Path) -> None:
    records = TrialRecords(StudyFolder(tmp_path))
    epoch = EpochEnded(1.0, 1, {"val_accuracy": 0.9}, 0.1, 1, 0.9)
    for number, found in enumerate(([STARTED], [epoch])):
        for event in found:
            events.append(records.folder.trial(number).events, event)
        assert records.fault_of_paused(number) == "its record is incomplete"
