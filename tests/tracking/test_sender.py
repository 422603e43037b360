import threading
import time
from collections.abc import Callable, Iterator

import pytest

from rnnexp.tracking import sender
from rnnexp.tracking.sender import RefusedError, SenderThread

pytestmark = pytest.mark.integration  # waits for threads


class _Tracker:
    """A fake MLflow. It records the replayed trials, fails a given number of times, and can block."""

    def __init__(self) -> None:
        self.sent: list[int] = []
        self.lines: list[str] = []
        self.failures = 0
        self.failing_connections = 0
        self.connections = 0
        self.entered = threading.Event()
        self.unblocked = threading.Event()
        self.unblocked.set()

    def connect(self) -> Callable[[int], object]:
        self.connections += 1
        if self.failing_connections:
            self.failing_connections -= 1
            raise ConnectionError("no\nroute")
        return self.replay

    def replay(self, number: int) -> None:
        self.entered.set()
        self.unblocked.wait(20)
        if self.failures:
            self.failures -= 1
            raise TimeoutError("no answer")
        self.sent.append(number)


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Tracker]:
    monkeypatch.setattr(sender, "_RETRY_S", 0.02)
    tracker = _Tracker()
    yield tracker
    tracker.unblocked.set()


def _wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "timeout"
        time.sleep(0.005)


def test_trials_are_sent_in_the_order_of_notification(tracker: _Tracker) -> None:
    thread = SenderThread(tracker.connect, tracker.lines.append)
    tracker.unblocked.clear()
    for number in (4, 2, 9, 2, 1):
        thread.notify(number)
    tracker.entered.wait(10)
    tracker.unblocked.set()
    assert thread.close(10) == []
    assert list(dict.fromkeys(tracker.sent)) == [4, 2, 9, 1]
    assert tracker.lines == []
    assert tracker.connections == 1


def test_events_that_arrive_while_a_trial_is_sent_are_sent_too(tracker: _Tracker) -> None:
    thread = SenderThread(tracker.connect, tracker.lines.append)
    tracker.unblocked.clear()
    thread.notify(3)
    assert tracker.entered.wait(10)
    thread.notify(3)
    tracker.unblocked.set()
    assert thread.close(10) == []
    assert tracker.sent == [3, 3]


def test_notify_does_not_wait_for_the_tracker(tracker: _Tracker) -> None:
    thread = SenderThread(tracker.connect, tracker.lines.append)
    tracker.unblocked.clear()
    start = time.monotonic()
    for number in range(100):
        thread.notify(number)
    assert time.monotonic() - start < 1
    tracker.unblocked.set()
    assert thread.close(10) == []
    assert tracker.sent == list(range(100))


def test_a_failed_record_is_sent_again_without_a_new_notification(tracker: _Tracker) -> None:
    tracker.failures = 3
    thread = SenderThread(tracker.connect, tracker.lines.append)
    for number in (5, 6, 7):
        thread.notify(number)
    _wait_for(lambda: tracker.sent == [5, 6, 7])
    assert thread.close(10) == []
    assert tracker.connections == 4, "each failure opens MLflow again"


def test_an_outage_and_its_end_are_each_logged_once(tracker: _Tracker) -> None:
    tracker.failing_connections = 4
    thread = SenderThread(tracker.connect, tracker.lines.append)
    thread.notify(1)
    _wait_for(lambda: len(tracker.lines) == 2)
    tracker.failures = 1
    thread.notify(2)
    _wait_for(lambda: len(tracker.lines) == 4)
    assert thread.close(10) == []
    assert tracker.sent == [1, 2]
    outage, end, second_outage, second_end = tracker.lines
    assert "no route" in outage
    assert "no answer" in second_outage
    assert end == second_end
    assert "MLflow is back" in end
    assert all("\n" not in line for line in tracker.lines)


def test_closing_sends_what_is_left(tracker: _Tracker) -> None:
    tracker.failures = 2
    thread = SenderThread(tracker.connect, tracker.lines.append)
    thread.notify(8)
    assert thread.close(10) == []
    assert tracker.sent == [8]


def test_closing_during_an_outage_returns_the_unsent_trials(tracker: _Tracker) -> None:
    tracker.failing_connections = 10**9
    thread = SenderThread(tracker.connect, tracker.lines.append)
    for number in (3, 1, 2, 1):
        thread.notify(number)
    start = time.monotonic()
    assert thread.close(0.3) == [1, 2, 3]
    assert time.monotonic() - start < 3
    time.sleep(0.2)
    attempts = tracker.connections
    time.sleep(0.2)
    assert tracker.connections == attempts, "the thread has ended"


def test_closing_waits_only_until_its_timeout_for_a_tracker_that_hangs(tracker: _Tracker) -> None:
    tracker.unblocked.clear()
    thread = SenderThread(tracker.connect, tracker.lines.append)
    thread.notify(6)
    assert tracker.entered.wait(10)
    thread.notify(7)
    start = time.monotonic()
    assert thread.close(0.2) == [6, 7]
    assert time.monotonic() - start < 3


def test_a_thread_that_was_given_up_logs_nothing_more(tracker: _Tracker) -> None:
    tracker.unblocked.clear()
    tracker.failures = 1
    thread = SenderThread(tracker.connect, tracker.lines.append)
    thread.notify(6)
    assert tracker.entered.wait(10)
    assert thread.close(0.1) == [6]
    tracker.unblocked.set()  # the databases are closed now, so what it does fails
    _wait_for(lambda: tracker.failures == 0)
    thread._thread.join(10)
    assert not thread._thread.is_alive()
    assert tracker.lines == []


def test_closing_without_notifications_is_fast(tracker: _Tracker) -> None:
    start = time.monotonic()
    assert SenderThread(tracker.connect, tracker.lines.append).close(10) == []
    assert time.monotonic() - start < 3
    assert tracker.sent == []


def test_a_rejected_record_does_not_block_the_others(tracker: _Tracker) -> None:
    def reject_trial_1(number: int) -> None:
        if number == 1:
            raise RefusedError("the run was deleted")
        tracker.replay(number)

    thread = SenderThread(lambda: reject_trial_1, tracker.lines.append)
    for number in (0, 1, 2):
        thread.notify(number)
    assert thread.close(10) == [1]
    assert tracker.sent == [0, 2]
    assert tracker.lines == ["trial 1: MLflow rejects its record (the run was deleted); the next start tries again"]
