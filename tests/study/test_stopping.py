import signal

from rnnexp.study.stopping import StopConditions


def test_nothing_stops_a_study_at_first() -> None:
    conditions = StopConditions(None, now=0.0)
    conditions.check_time_budget(1e9, is_complete=False)
    assert not conditions.must_stop


def test_a_signal_stops_the_study() -> None:
    conditions = StopConditions(None, now=0.0)
    conditions.signal = signal.SIGINT
    assert conditions.must_stop


def test_the_time_budget_counts_from_the_start() -> None:
    conditions = StopConditions(10.0, now=100.0)
    conditions.check_time_budget(110.0, is_complete=False)
    assert not conditions.out_of_time
    conditions.check_time_budget(110.1, is_complete=False)
    assert conditions.out_of_time
    assert conditions.must_stop


def test_a_complete_study_does_not_run_out_of_time() -> None:
    conditions = StopConditions(10.0, now=100.0)
    conditions.check_time_budget(200.0, is_complete=True)
    assert not conditions.out_of_time


def test_a_study_that_ran_out_of_time_stays_so_when_its_last_trials_finish() -> None:
    conditions = StopConditions(10.0, now=100.0)
    conditions.check_time_budget(200.0, is_complete=False)
    conditions.check_time_budget(201.0, is_complete=True)
    assert conditions.out_of_time


def test_the_last_reason_to_halt_is_kept_and_a_full_disk_is_remembered() -> None:
    conditions = StopConditions(None, now=0.0)
    conditions.halt("the disk is full", disk_full=True)
    conditions.halt("something else")
    assert conditions.must_stop
    assert conditions.halt_reason == "something else"
    assert conditions.disk_full
