"""An executor in virtual time."""

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

from rnnexp.config.sweep import SweepConfig
from rnnexp.engine.executor import End, Exited, Message, NotStarted
from rnnexp.trial.answer import Answer
from rnnexp.trial.events import EpochEnded
from rnnexp.trial.job import Place, TrialJob
from rnnexp.trial.process import DISK_FULL
from rnnexp.trial.states import State
from tests.simulation.invariants import InvariantChecker
from tests.simulation.sim_process import Process
from tests.simulation.sim_storage import Append
from tests.simulation.world import Generation, Violation, World

_STOP_TIMEOUT_S = 30.0
_TOLERANCE_S = 0.1
_MAX_SECONDS_AFTER_STOP = 6.0
"""A process looks for a request at each heartbeat, and the supervisor may handle its result later."""


class Inbox:
    """Messages on their way; those of a trial arrive in their order."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._messages: list[tuple[float, int, int, Any]] = []
        self._last_arrival: dict[int, float] = {}
        self._order = itertools.count()

    def add(self, number: int, message: Any, delay_s: float) -> None:
        """Adds a message of a trial, which arrives after a delay."""
        arrival = max(self._last_arrival.get(number, 0.0), self._world.now + delay_s)
        self._last_arrival[number] = arrival
        self._messages.append((arrival, next(self._order), number, message))

    def next_arrival(self) -> float:
        """Returns when the next message arrives."""
        return min((arrival for arrival, *_ in self._messages), default=math.inf)

    def take(self) -> list[Message]:
        """Removes and returns the messages that have arrived."""
        arrived = sorted(item for item in self._messages if item[0] <= self._world.now)
        self._messages = [item for item in self._messages if item[0] > self._world.now]
        return [(number, message) for _, _, number, message in arrived]


def advance_until(generation: Generation, timeout_s: float, next_arrival: Callable[[], float]) -> None:
    """Advances the time until something arrives, a signal comes, or the timeout."""
    world = generation.world
    deadline, signal_before = world.now + timeout_s, generation.signal
    while True:
        generation.run_sender()
        if next_arrival() <= world.now or world.now >= deadline or generation.signal != signal_before:
            return
        world.advance(min(deadline, max(world.now, min(world.next_due(), next_arrival()))))


class SimExecutor:
    """Slots whose processes belong to the world. `poll` advances the time."""

    def __init__(
        self, generation: Generation, n_slots: int, append: Append, checker: InvariantChecker, config: SweepConfig
    ) -> None:
        """Args:
        generation: the supervisor's lifetime.
        n_slots: trials at once.
        append: the real `events.append`, for the processes.
        checker: knows what Optuna has stored.
        config: the supervisor's sweep file.
        """
        self._checker, self._config = checker, config
        self._generation, self._world = generation, generation.world
        self._n_slots, self._append = n_slots, append
        self._processes: dict[int, Process] = {}
        self._inbox = Inbox(self._world)
        self._last_heartbeat: dict[int, float] = {}
        self._retries_of = checker.retries_of
        self._killed: set[int] = set()
        self._retries_before_crash: dict[int, int] = {}
        self._retries_that_stay: dict[int, int] = {}
        self._refused_at: list[float] = []
        self._unanswered: set[int] = set()

    @property
    def n_slots(self) -> int:
        return self._n_slots

    def submit(self, job: TrialJob, place: Place) -> None:
        number = job.number
        self._generation.step(f"submit {number}", "write")
        if len(self._processes) >= self._n_slots or number in self._processes:
            raise Violation(f"trial {number} is submitted while the slots are used by {sorted(self._processes)}")
        self._checker.check_start(number, self._config)
        self._refuse(number)
        self._world.log("executor", f"trial {number} starts attempt {job.attempt}")
        self._killed.discard(number)
        self._last_heartbeat[number] = self._world.started_at[number]
        self._begin(job, place)
        self._generation.step(f"after submit {number}", "write")

    def _begin(self, job: TrialJob, place: Place) -> None:
        number = job.number
        self._processes[number] = Process(
            self._world, job, place.folder, self._append, partial(self._inbox.add, number)
        )

    def _refuse(self, number: int) -> None:
        """Raises an error if the environment starts no process now. That may cost the trial nothing."""
        world = self._world
        kind = world.draw_fault("submit") if world.now >= world.environment_unfit_until else None
        if kind == "environment unfit":
            world.environment_unfit_until = world.now + world.rng.uniform(1, 900)
        if kind is None and world.now >= world.environment_unfit_until:
            return
        self._refused_at.append(world.now)
        n_in_a_second = sum(when > world.now - 1.0 for when in self._refused_at)
        if n_in_a_second > 4:
            raise Violation(f"{n_in_a_second} starts are tried within a second, although all fail")
        self._retries_that_stay[number] = self._retries_of(number)[1]
        raise OSError("Resource temporarily unavailable")

    def poll(self, timeout_s: float) -> list[Message]:
        generation, world = self._generation, self._world
        self._check_crashes()
        if self._unanswered:
            raise Violation(f"trials {self._unanswered} have ended an epoch and got no answer")
        generation.step("poll")
        arrived = self._wait(timeout_s)
        for number, message in arrived:
            self._last_heartbeat[number] = world.now
            self._check_stop(number)
            if isinstance(message, EpochEnded):
                self._unanswered.add(number)
            if isinstance(message, End):
                self._unanswered.discard(number)
                self._expect_retries(number, message, self._processes.pop(number, None))
        return arrived

    def _wait(self, timeout_s: float) -> list[Message]:
        """Advances the time until a message arrives."""
        advance_until(self._generation, timeout_s, self._inbox.next_arrival)
        return self._inbox.take()

    def _expect_retries(self, number: int, end: End, process: Process | None) -> None:
        """Notes whether the end of an attempt must use a retry."""
        before = self._retries_of(number)[1]
        if isinstance(end, NotStarted):
            self._retries_that_stay[number] = before
        if not isinstance(end, Exited) or process is None or number in self._killed:
            return
        if end.code != DISK_FULL and not process.has_result():
            if process.has_trained():
                self._retries_before_crash[number] = before
            elif end.code >= 0:
                self._retries_that_stay[number] = before

    def _check_crashes(self) -> None:
        """Checks that each reported crash has used a retry or has failed the trial."""
        for number, before in self._retries_before_crash.items():
            state, now = self._retries_of(number)
            if state != State.FAIL and now <= before:
                raise Violation(f"trial {number} crashed and is {state}; used retries: {before} before, {now} now")
        self._retries_before_crash.clear()
        for number, before in self._retries_that_stay.items():
            state, now = self._retries_of(number)
            # Started again at once, it may have found an error in its data meanwhile.
            has_failed = state == State.FAIL and "data error" not in self._world.causes[number]
            if has_failed or now != before:
                raise Violation(f"trial {number} did not start, and is {state} with {now} used retries, not {before}")
        self._retries_that_stay.clear()

    def answer(self, number: int, answer: Answer) -> None:
        self._unanswered.discard(number)
        self._checker.check_answer(number, answer, self._config)
        self._generation.step(f"answer {number}", "write")
        if number in self._processes and not self._world.draw_fault("answer"):
            self._deliver(number, answer)  # else the process waits until the heartbeat timeout

    def _deliver(self, number: int, answer: Answer) -> None:
        self._world.schedule(0.001, partial(self._processes[number].answer, answer))

    def request_stop(self, number: int) -> None:
        self._generation.step(f"request trial {number} to stop", "write")
        self._request_stop(number)

    def _request_stop(self, number: int) -> None:
        if number in self._processes:
            self._world.schedule(0.001, self._processes[number].request_stop)

    def kill(self, number: int) -> None:
        self._generation.step(f"kill {number}", "write")
        self._check_stop(number)
        self._record_cause_of_kill(number)
        self._killed.add(number)
        self._kill(number)

    def _kill(self, number: int) -> None:
        if number in self._processes:
            self._processes[number].end(-9)

    def _check_stop(self, number: int) -> None:
        """Checks that a trial that trains was not left to train after a stop request."""
        if number not in self._processes:
            return
        taken_at = self._world.stop_taken_at.get(number, self._world.now)
        seconds = self._processes[number].seconds_of_new_epoch(taken_at)
        if seconds > _MAX_SECONDS_AFTER_STOP:
            raise Violation(f"trial {number} still trains {seconds:.1f} s after it should have been stopped")

    def _record_cause_of_kill(self, number: int) -> None:
        """Records which limit justifies the kill. An interruption justifies no failure and no used retry."""
        limits, now, causes = self._world.plan.config.limits, self._world.now, self._world.causes[number]
        if limits.trial_s is not None and now - self._world.started_at[number] > limits.trial_s - _TOLERANCE_S:
            causes.append("failure")
        if now - self._world.stop_requested_at.get(number, now) > _STOP_TIMEOUT_S - _TOLERANCE_S:
            causes.append("failure")
        is_silent = (
            limits.heartbeat_timeout_s is not None
            and now - self._last_heartbeat[number] > limits.heartbeat_timeout_s - _TOLERANCE_S
        )
        process = self._processes.get(number)
        if is_silent or (process is not None and process.n_bytes > (limits.memory_gb or 1024) * 2**30):
            causes.append("crash")

    def private_bytes(self, number: int) -> int | None:
        self._generation.step(f"memory of {number}")
        return self._processes[number].n_bytes if number in self._processes else None

    def close(self) -> None:
        if self._generation.alive:
            for process in list(self._processes.values()):
                process.end(-9)
