"""The failure policy by itself: how an end is classified, what is decided, and what is counted."""

import pytest

from rnnexp.engine.executor import Exited, NotStarted, SlotLost
from rnnexp.study import failures
from rnnexp.study.failures import (
    FAILURE_POLICY,
    FINAL_ACTIONS,
    ConsecutiveFailures,
    Decision,
    Failure,
    FailureAction,
    FailureKind,
    LostSlots,
    decide,
    parse_kind,
)
from rnnexp.trial.process import DISK_FULL, LOCKED, ORPHANED


def test_an_exit_code_is_classified() -> None:
    def classify(code: int, *, has_trained: bool = True) -> tuple[FailureKind, str]:
        return failures.classify_end(Exited(code), has_trained=has_trained)

    assert classify(-11) == (FailureKind.KILLED, "its process was killed by SIGSEGV")
    assert classify(7) == (FailureKind.KILLED, "its process ended with exit code 7")
    assert classify(0)[0] is FailureKind.KILLED
    assert classify(ORPHANED)[0] is FailureKind.KILLED
    for has_trained in (False, True):
        assert classify(DISK_FULL, has_trained=has_trained) == (FailureKind.DISK, "the disk is full")
        expected = (FailureKind.ENVIRONMENT, "another process works in its folder")
        assert classify(LOCKED, has_trained=has_trained) == expected
    expected = (FailureKind.ENVIRONMENT, "its process ended with exit code 1 before it trained")
    assert classify(1, has_trained=False) == expected


def test_what_a_slot_of_another_machine_reports_is_classified() -> None:
    lost = failures.classify_end(SlotLost("node 10.0.0.3 is lost"), has_trained=False)
    assert lost == (FailureKind.SLOT_LOST, "node 10.0.0.3 is lost")
    refused = failures.classify_end(NotStarted("no space"), has_trained=False)
    assert refused == (FailureKind.ENVIRONMENT, "its process could not be started (no space)")


def test_each_third_slot_that_a_trial_loses_without_an_epoch_counts_as_killed() -> None:
    lost_slots, lost = LostSlots(), Failure(FailureKind.SLOT_LOST, "the node is lost")

    def kinds(*n_epochs: int, number: int = 0) -> list[FailureKind]:
        return [lost_slots.classify(number, lost, n).kind for n in n_epochs]

    assert kinds(0, 0, 1, 1, 2, 3, 3) == [FailureKind.SLOT_LOST] * 7
    assert kinds(3) == [FailureKind.KILLED]
    assert kinds(3, 3) == [FailureKind.SLOT_LOST] * 2
    assert kinds(3, number=1) == [FailureKind.SLOT_LOST]
    assert kinds(3) == [FailureKind.KILLED]


def test_a_kind_that_a_trial_reports_is_parsed() -> None:
    assert parse_kind("diverged") is FailureKind.DIVERGED
    assert parse_kind("a kind of a newer version") is FailureKind.ERROR


def test_only_a_retry_is_limited() -> None:
    for kind, rule in FAILURE_POLICY.items():
        is_requeued = decide(Failure(kind, "reason"), n_crashes=99, max_retries=0).action not in FINAL_ACTIONS
        assert is_requeued == (rule.action in (FailureAction.REQUEUE, FailureAction.WAIT, FailureAction.MOVE))
        is_requeued = decide(Failure(kind, "reason"), n_crashes=0, max_retries=1).action not in FINAL_ACTIONS
        assert is_requeued == (rule.action not in FINAL_ACTIONS)


@pytest.mark.parametrize(
    ("kind", "n_crashes", "expected"),
    [
        (FailureKind.ERROR, 0, Decision(FailureAction.FAIL, "reason")),
        (FailureKind.INTERRUPTED, 2, Decision(FailureAction.REQUEUE, "reason")),
        (FailureKind.SLOT_LOST, 2, Decision(FailureAction.MOVE, "reason")),
        (FailureKind.KILLED, 1, Decision(FailureAction.RETRY, "reason; it resumes from its last epoch")),
        (FailureKind.KILLED, 2, Decision(FailureAction.FAIL, "reason, 3 times")),
        (
            FailureKind.MEMORY,
            2,
            Decision(FailureAction.FAIL, f"reason, 3 times; {FAILURE_POLICY[FailureKind.MEMORY].advice}"),
        ),
    ],
)
def test_the_reason_says_what_happened_and_what_to_do(kind: FailureKind, n_crashes: int, expected: Decision) -> None:
    assert decide(Failure(kind, "reason"), n_crashes, max_retries=2) == expected


def test_a_first_failure_without_retries_is_not_counted_in_the_reason() -> None:
    assert decide(Failure(FailureKind.KILLED, "reason"), 0, max_retries=0) == Decision(FailureAction.FAIL, "reason")


def test_consecutive_failures_reach_the_limit() -> None:
    counter = ConsecutiveFailures(3)
    for reason in ("a", "b"):
        counter.add(reason)
        assert not counter.stop_reason
    counter.add("b")
    assert counter.stop_reason.startswith("3 consecutive trials failed (2 of them): b; ")
    counter.reset()
    assert not counter.stop_reason


def test_consecutive_failures_without_a_limit_never_stop_a_sweep() -> None:
    counter = ConsecutiveFailures(None)
    for _ in range(100):
        counter.add("a")
    assert not counter.stop_reason
