"""Optuna's storage and the trials' folders, with injected faults."""

import errno
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState

from rnnexp import disk
from rnnexp.errors import StorageLostError
from rnnexp.home import StudyFolder
from rnnexp.trial import events
from rnnexp.trial.events import AttemptEnded, EndReason, Event
from rnnexp.trial.states import FINISHED, State
from tests.simulation.world import Generation, Violation, World

Append = Callable[[Path, Event], None]

_LOCK_TIMEOUT_S = 15.0
_MAX_TRIALS = 40
"""More than twice the largest budget of a plan."""


def disk_full_error() -> OSError:
    """Returns the error of a write to a full disk."""
    return OSError(errno.ENOSPC, "No space left on device")


class SimStorage(InMemoryStorage):  # type: ignore[misc]
    """Optuna's storage, which outlives the supervisors. Each write may fail, or be the supervisor's last one."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self.generation: Generation | None = None
        self.finished_in_order: list[int] = []

    @contextmanager
    def _writing(self, what: str) -> Iterator[None]:
        generation = self.generation
        if generation is None:
            yield
            return
        generation.step(f"before optuna: {what}", "write")
        fail_after_write = self._world.rng.random() < 0.2
        kind = self._world.draw_fault("optuna")
        if kind is not None and not fail_after_write:
            self._fail(generation, kind)
        self._world.log("optuna", what)
        yield
        if kind is not None:
            self._fail(generation, kind)
        generation.step(f"after optuna: {what}", "write")

    def _fail(self, generation: Generation, kind: str) -> None:
        generation.write_failed = True
        if kind.endswith("lost"):  # whether the write was committed is not known
            raise StorageInternalError("An exception is raised.") from StorageLostError("server closed the connection")
        message = "database or disk is full" if kind.endswith("full") else "database is locked"
        raise StorageInternalError("An exception is raised during the commit.") from sqlite3.OperationalError(message)

    def create_new_study(self, *args: Any, **keywords: Any) -> int:
        with self._writing("create study"):
            return int(super().create_new_study(*args, **keywords))

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        with self._writing(f"study's {key}"):
            super().set_study_user_attr(study_id, key, value)

    def create_new_trial(self, *args: Any, **keywords: Any) -> int:
        if self.get_n_trials(args[0]) >= _MAX_TRIALS:
            raise Violation(f"more than {_MAX_TRIALS} trials are created")
        with self._writing("create trial"):
            return int(super().create_new_trial(*args, **keywords))

    def set_trial_param(self, trial_id: int, param_name: str, *args: Any) -> None:
        with self._writing(f"trial {trial_id}'s {param_name}"):
            super().set_trial_param(trial_id, param_name, *args)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        with self._writing(f"trial {trial_id} reports epoch {step}: {intermediate_value:.4f}"):
            super().set_trial_intermediate_value(trial_id, step, intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        with self._writing(f"trial {trial_id}'s {key}"):
            super().set_trial_user_attr(trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        with self._writing(f"trial {trial_id}'s {key}"):
            super().set_trial_system_attr(trial_id, key, value)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Any = None) -> bool:
        with self._writing(f"trial {trial_id} is {state.name} {values or ''}"):
            done = bool(super().set_trial_state_values(trial_id, state, values))
            trial = self._get_trial(trial_id)
            if state == TrialState.WAITING:
                # The in-memory storage searches waiting trials only after the last one it found. Databases search all.
                self._prev_waiting_trial_number[0] = 0
            elif state.is_finished():
                seconds = self._world.wall_time() - 1_700_000_000
                trial.datetime_complete = datetime(2026, 1, 1) + timedelta(seconds=seconds)
                self.finished_in_order.append(trial.number)
            return done


class SimRecords:
    """The real `TrialRecords`; each call may fail in the middle, or be the supervisor's last one."""

    def __init__(self, generation: Generation, inner: Any, state_of: Callable[[int], str]) -> None:
        """Args:
        generation: the supervisor's lifetime.
        inner: the real records.
        state_of: returns a trial's state from Optuna.
        """
        self._generation, self._inner, self._world = generation, inner, generation.world
        self._state_of = state_of

    @property
    def folder(self) -> StudyFolder:
        folder: StudyFolder = self._inner.folder
        return folder

    @property
    def home(self) -> Path:
        return Path(self._inner.home)

    def create_folder(self, request: Any) -> None:
        self._world.started_at[request.number] = self._world.now
        self._world.stop_taken_at.pop(request.number, None)  # it was of an earlier attempt
        self._generation.step(f"begin {request.number}", "write")
        self._wait_for_orphan(request.number)
        kind = self._world.draw_fault("begin")
        config = self.folder.trial(request.number).config
        if kind == "record: disk full":
            self._generation.write_failed = True
            raise disk_full_error()
        if kind is not None:
            config.parent.mkdir(parents=True, exist_ok=True)
            config.with_name(disk.WRITING + config.name).write_text("half")
            self._generation.kill(f"the middle of begin {request.number}")
        self._inner.create_folder(request)
        self._generation.step(f"after begin {request.number}", "write")

    def _wait_for_orphan(self, number: int) -> None:
        """Waits for an orphan as the real method does. One that hangs is killed, if the system tells which it is."""
        world = self._world
        deadline = world.now + _LOCK_TIMEOUT_S
        root = self.folder.trial(number).root
        while root in world.folder_locks:
            if world.now > deadline:
                if world.rng.random() < 0.5:
                    world.folder_locks[root].end(-9)
                return
            world.advance(world.now + 0.1)

    def read(self, number: int) -> list[Event]:
        self._generation.step(f"read {number}")
        read: list[Event] = self._inner.read(number)
        return read

    def pending_result(self, number: int, note: Callable[[str], None]) -> Any:
        self._generation.step(f"read {number}")
        return self._inner.pending_result(number, note)

    def fault_of_paused(self, number: int) -> str:
        self._generation.step(f"read {number}")
        return str(self._inner.fault_of_paused(number))

    def result_of_paused(self, number: int, ended: EndReason, reason: str, when: float) -> Any:
        return type(self._inner).result_of_paused(self, number, ended, reason, when)

    def has_trained(self, number: int, attempt: int) -> bool:
        self._generation.step(f"read {number}")
        return bool(self._inner.has_trained(number, attempt))

    def append(self, number: int, event: Event) -> None:
        self._generation.step(f"append to {number}", "write")
        if isinstance(event, AttemptEnded) and event.state in FINISHED and self._state_of(number) != event.state:
            raise Violation(f"trial {number} is closed as {event.state}; Optuna has {self._state_of(number)}")
        self._inner.append(number, event)
        self._world.log("record", f"trial {number}: {_describe(event)}")
        self._generation.step(f"after append to {number}", "write")

    def close(self, number: int, state: State, reason: str, attempts: int, when: float) -> None:
        type(self._inner).close(self, number, state, reason, attempts, when)  # the real code calls the methods here

    def clean_up(self, number: int, *, keep_model: bool) -> None:
        with self._generation.removing_files(f"clean up {number}"):
            self._inner.clean_up(number, keep_model=keep_model)

    def evict(self, number: int, when: float) -> bool:
        if not self.folder.trial(number).best.exists():
            return bool(self._inner.evict(number, when))
        with self._generation.removing_files(f"evict {number}"):
            done = bool(self._inner.evict(number, when))
            self._world.log("record", f"trial {number} is evicted")
        return done

    def take_stop_requests(self) -> list[int]:
        self._generation.step("take stop requests")
        taken: list[int] = self._inner.take_stop_requests()
        for number in taken:
            self._world.stop_taken_at[number] = self._world.now
        return taken

    def free_bytes(self) -> int:
        self._generation.step("measure the free disk space")
        world = self._world
        if world.draw_fault("disk check"):
            world.disk_nearly_full_until = world.now + world.rng.uniform(0.1, 30)
        return 2**20 if world.now < world.disk_nearly_full_until else 2**34


def faulty_append(generation: Generation, real: Append) -> Append:
    """Returns the supervisor's `events.append`: the real one, into which faults are injected."""

    def append(path: Path, event: Event) -> None:
        kind = generation.world.draw_fault("append") if generation.alive else None
        if kind is not None:
            generation.write_failed = True
        if kind in ("record: torn", "supervisor killed in a write"):
            write_torn(path, event, generation.world)
        if kind == "supervisor killed in a write":
            generation.kill(f"the middle of {_describe(event)}")
        if kind is not None:
            raise disk_full_error()
        real(path, event)

    return append


def write_torn(path: Path, event: Event, world: World) -> None:
    """Writes a part of an event's line, like an interrupted write."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = events.encode(event).encode()
    with path.open("ab+") as file:
        file.write(line[: world.rng.randint(1, len(line))])


def _describe(event: Event) -> str:
    state = f" {State(event.state)}: {event.reason}" if isinstance(event, AttemptEnded) else ""
    return type(event).__name__ + state
