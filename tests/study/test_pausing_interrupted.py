"""Studies whose trials are paused have the same results if they are interrupted or killed at any write.

Trials run one at a time, in Optuna's storage in memory, which is fast enough for a run for each write.
"""

import pkgutil
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import optuna
import pytest

from rnnexp.trial import events
from rnnexp.trial.events import AttemptEnded, Finished
from rnnexp.trial.job import TrialJob
from tests.study.small_study import Study
from tests.study.test_pausing import PAUSING, executor, falling, new_study, rising

pytestmark = pytest.mark.integration  # a study for each write


class _Killed(BaseException):
    """The supervisor's process is killed."""


_STORAGE = "optuna.storages.InMemoryStorage."
_WRITES = (
    *(f"{_STORAGE}set_trial_{what}" for what in ("param", "intermediate_value", "user_attr", "state_values")),
    f"{_STORAGE}create_new_trial",
    "rnnexp.trial.events.append",
    "rnnexp.disk.write_text",
)


@contextmanager
def killed_at(number: int | None) -> Iterator[list[str]]:
    """Kills the supervisor before one of its writes, counted from 0: to Optuna's storage or to a trial's files."""
    writes: list[str] = []

    def counted(place: str, write: Any) -> Any:
        def call(*arguments: Any, **keywords: Any) -> Any:
            writes.append(place)
            if len(writes) - 1 == number:
                raise _Killed
            return write(*arguments, **keywords)

        return call

    with ExitStack() as stack:
        for place in _WRITES:
            stack.enter_context(mock.patch(place, counted(place, pkgutil.resolve_name(place))))
        yield writes


def in_memory(root: Path) -> tuple[Study, optuna.storages.InMemoryStorage]:
    """Returns a small study whose trials pass two rungs, and a fast storage for it."""
    study = new_study(root, PAUSING.replace("trials: 8", "trials: 4").replace("epochs: 8", "epochs: 4"))
    study.file.write_text(study.file.read_text().replace("min_resource: 2", "min_resource: 1"))
    return study, optuna.storages.InMemoryStorage()


def run_in_memory(study: Study, storage: optuna.storages.InMemoryStorage, kill_at: int | None) -> int:
    """Runs the study with one trial at a time, and once more if it is killed; returns the number of writes."""
    with mock.patch("rnnexp.storage.store.open_storage", lambda home: storage):
        with killed_at(kill_at) as writes:
            try:
                study.run(executor())
            except _Killed:
                assert len(writes) - 1 == kill_at
        if kill_at is not None:
            study.run(executor())
    return len(writes)


def stored(study: Study, storage: optuna.storages.InMemoryStorage) -> list[Any]:
    """Returns the results of a study's trials in Optuna, and their records: closed state, reason and epochs."""
    found = []
    for trial in storage.get_all_trials(0):
        trial_events = events.read(study.home.study("s").trial(trial.number).events)
        closed = [event for event in trial_events if isinstance(event, AttemptEnded)][-1]
        results = [event.ended for event in trial_events if isinstance(event, Finished)]
        reports = trial.intermediate_values
        epochs = [epoch.epoch for epoch in events.epochs(trial_events)]
        found.append(
            (trial.params, trial.state.name, trial.value, reports, closed.state, closed.reason, results, epochs)
        )
    return found


def test_a_study_that_is_killed_at_any_write_has_the_results_of_one_that_is_not(tmp_path: Path) -> None:
    whole, storage = in_memory(tmp_path / "whole")
    n_writes = run_in_memory(whole, storage, None)
    expected = stored(whole, storage)
    assert {state for _, state, *_ in expected} == {"COMPLETE", "PRUNED"}
    assert n_writes > 60, "a new trial is one write, and each epoch is at least one"
    for number in range(5, n_writes):  # the study itself is created before
        study, storage = in_memory(tmp_path / str(number))
        run_in_memory(study, storage, number)
        assert stored(study, storage) == expected, f"killed at write {number}"


@pytest.mark.parametrize("accuracy", [rising, falling])
@pytest.mark.parametrize("at", [(0, 1), (0, 2), (1, 2), (3, 2), (0, 4), (1, 5), (4, 2), (4, 4)])
def test_a_study_that_is_interrupted_has_the_results_of_one_that_is_not(
    tmp_path: Path, accuracy: Callable[[TrialJob, int], float], at: tuple[int, int]
) -> None:
    found = []
    for name, signals in (("whole", {}), ("interrupted", {at: signal.SIGINT})):
        study, storage = in_memory(tmp_path / name)
        study.file.write_text(study.file.read_text().replace("epochs: 4", "epochs: 8"))
        with mock.patch("rnnexp.storage.store.open_storage", lambda home, storage=storage: storage):
            outcome = study.run(executor(accuracy), signals=dict(signals))
            if outcome.signal is not None:
                study.run(executor(accuracy))
        found.append(stored(study, storage))
    assert found[0] == found[1]
