from pathlib import Path

import pytest

from rnnexp.config.sweep import Limits
from rnnexp.config.trial import TrialConfig
from rnnexp.storage.trial_values import TrialRequest
from rnnexp.study import limits
from rnnexp.study.failures import FailureKind
from rnnexp.study.limits import MIN_FREE_BYTES, RESOURCE_CHECK_INTERVAL_S, STOP_TIMEOUT_S, LimitChecker
from rnnexp.study.running import RunningTrial

GB = 2**30


@pytest.fixture
def trial() -> RunningTrial:
    return RunningTrial(TrialRequest(0, {}, TrialConfig(), attempt=1), started_at=100.0, last_heartbeat=150.0)


def exceeded(
    trial: RunningTrial, now: float, private_bytes: int | None = None, **values: float | None
) -> FailureKind | None:
    checker = LimitChecker(Limits.model_validate({"heartbeat_timeout_s": None} | values), now=0.0)
    failure = checker.exceeded(trial, now, private_bytes)
    return failure.kind if failure else None


def test_without_limits_no_limit_is_exceeded(trial: RunningTrial) -> None:
    assert exceeded(trial, 1e9, 2**60) is None


def test_the_time_limit_counts_from_the_start(trial: RunningTrial) -> None:
    assert exceeded(trial, 160.0, trial_s=60.0) is None
    assert exceeded(trial, 160.1, trial_s=60.0) is FailureKind.TIME


def test_the_heartbeat_timeout_counts_from_the_last_message(trial: RunningTrial) -> None:
    assert exceeded(trial, 160.0, heartbeat_timeout_s=10.0) is None
    assert exceeded(trial, 160.1, heartbeat_timeout_s=10.0) is FailureKind.HEARTBEAT_TIMEOUT


def test_memory_is_compared_only_if_it_was_measured(trial: RunningTrial) -> None:
    assert exceeded(trial, 160.0, None, memory_gb=2.0) is None
    assert exceeded(trial, 160.0, 2 * GB, memory_gb=2.0) is None
    assert exceeded(trial, 160.0, 2 * GB + 1, memory_gb=2.0) is FailureKind.MEMORY


def test_a_stopped_trial_has_a_deadline(trial: RunningTrial) -> None:
    limits.set_kill_deadline(trial, 160.0)
    assert exceeded(trial, 160.0 + STOP_TIMEOUT_S) is None
    assert not limits.is_past_deadline(trial, 160.0 + STOP_TIMEOUT_S)
    assert exceeded(trial, 160.1 + STOP_TIMEOUT_S) is FailureKind.STOPPED
    assert limits.is_past_deadline(trial, 160.1 + STOP_TIMEOUT_S)


def test_a_stop_by_the_user_is_the_reason_even_if_other_limits_are_exceeded(trial: RunningTrial) -> None:
    limits.set_kill_deadline(trial, 160.0)
    now = 1000.0
    assert exceeded(trial, now, 9 * GB, trial_s=1.0, heartbeat_timeout_s=1.0, memory_gb=1.0) is FailureKind.STOPPED


def test_the_reason_names_the_limit(trial: RunningTrial) -> None:
    checker = LimitChecker(Limits(trial_s=None, heartbeat_timeout_s=None, memory_gb=2.0), now=0.0)
    failure = checker.exceeded(trial, 160.0, 5 * GB)
    assert failure is not None
    assert failure.reason == "exceeded its memory limit of 2 GB (limits.memory_gb): 5.00 GB"


def test_resources_are_checked_once_per_interval() -> None:
    checker = LimitChecker(Limits(), now=10.0)
    due = [checker.is_resource_check_due(10.0 + RESOURCE_CHECK_INTERVAL_S * part) for part in (0.5, 1.0, 1.5, 2.0, 2.1)]
    assert due == [False, True, False, True, False]


@pytest.mark.parametrize(("memory_gb", "measured"), [(None, False), (2.0, True)])
def test_memory_is_measured_only_if_it_is_limited(memory_gb: float | None, measured: bool) -> None:
    assert LimitChecker(Limits(memory_gb=memory_gb), now=0.0).has_memory_limit == measured


def test_the_disk_is_nearly_full_below_the_minimum() -> None:
    assert limits.is_disk_nearly_full(MIN_FREE_BYTES - 1)
    assert not limits.is_disk_nearly_full(MIN_FREE_BYTES)


def test_the_message_of_a_full_disk_says_where_and_what_to_do() -> None:
    message = limits.disk_full_message(Path("/somewhere/mlruns"), 3 * 2**20)
    assert message.startswith("the disk is full: 3 MB are free at /somewhere/mlruns;")
    assert "`rnnexp doctor --home /somewhere/mlruns`" in message
