"""An executor in virtual time."""

from collections.abc import Callable
from typing import Any

from rnnexp.engine.executor import Exited, Message
from rnnexp.trial.events import EpochEnded
from rnnexp.trial.process import DISK_FULL, TrialJob
from rnnexp.trial.states import State
from tests.simulation.stores import Append
from tests.simulation.trials import Process
from tests.simulation.world import Generation, Violation

_STOP_PATIENCE_S = 30.0
_A_STEP_S = 0.1


class SimExecutor:
    """Slots whose processes live in the world; polling lets time pass."""

    def __init__(
        self, generation: Generation, n_slots: int, append: Append, standing_of: Callable[[int], tuple[str, int]]
    ) -> None:
        """Args:
        generation: whose executor it is.
        n_slots: trials at once.
        append: the real `events.append`, for the processes.
        standing_of: a trial's state and the retries it has spent, by Optuna.
        """
        self._generation, self._world = generation, generation.world
        self._n_slots, self._append = n_slots, append
        self._processes: dict[int, Process] = {}
        self._inbox: list[tuple[float, int, int, Any]] = []
        self._latest: dict[int, float] = {}
        self._heard: dict[int, float] = {}
        self._said = 0
        self._standing_of = standing_of
        self._killed: set[int] = set()
        self._died: dict[int, int] = {}
        self._unanswered: set[int] = set()

    @property
    def n_slots(self) -> int:
        return self._n_slots

    def submit(self, number: int, job: TrialJob) -> None:
        self._generation.step(f"submit {number}", "write")
        if len(self._processes) >= self._n_slots or number in self._processes:
            raise Violation(f"trial {number} is submitted; {sorted(self._processes)} fill the slots")
        if self._world.strike("submit"):
            self._world.befell[number].append("died")
            raise OSError("Resource temporarily unavailable")
        self._world.say("executor", f"trial {number} begins attempt {job.attempt}")
        self._killed.discard(number)
        self._heard[number] = self._world.begun[number]

        def deliver(message: Any, delay_s: float) -> None:
            ready = max(self._latest.get(number, 0.0), self._world.now + delay_s)
            self._latest[number] = ready
            self._said += 1
            self._inbox.append((ready, self._said, number, message))

        self._processes[number] = Process(self._world, number, job, self._append, deliver)
        self._generation.step(f"after submit {number}", "write")

    def poll(self, timeout_s: float) -> list[Message]:
        generation, world = self._generation, self._world
        self._check_deaths()
        if self._unanswered:
            raise Violation(f"trials {self._unanswered} have ended an epoch and got no answer")
        generation.step("poll")
        deadline, signalled = world.now + timeout_s, generation.signal
        while True:
            generation.run_sender()
            ready = sorted(item for item in self._inbox if item[0] <= world.now)
            if ready or world.now >= deadline or generation.signal != signalled:
                break
            soonest = min((item[0] for item in self._inbox), default=deadline)
            world.advance(min(deadline, max(world.now, min(world.next_due(), soonest))))
        self._inbox = [item for item in self._inbox if item[0] > world.now]
        for _, _, number, message in ready:
            self._heard[number] = world.now
            if isinstance(message, EpochEnded):
                self._unanswered.add(number)
            if isinstance(message, Exited):
                process = self._processes.pop(number)
                if number not in self._killed and message.code != DISK_FULL and not process.has_result():
                    self._died[number] = self._standing_of(number)[1]
        return [(number, message) for _, _, number, message in ready]

    def _check_deaths(self) -> None:
        """What died of itself and was heard of has spent a retry, or has failed."""
        for number, before in self._died.items():
            state, now = self._standing_of(number)
            if state != State.FAIL and now <= before:
                raise Violation(f"trial {number} has died and is {state}, {before} then {now} retries spent")
        self._died.clear()

    def answer(self, number: int, go_on: bool) -> None:
        self._unanswered.discard(number)
        self._generation.step(f"answer {number}", "write")
        process = self._processes.get(number)
        if process is None:
            return
        if self._world.strike("answer"):
            return  # it waits in vain
        self._world.later(0.001, lambda: process.answer(go_on))

    def kill(self, number: int) -> None:
        self._generation.step(f"kill {number}", "write")
        if number in self._processes:
            self._note_why(number)
            self._killed.add(number)
            self._processes[number].end(-9)

    def _note_why(self, number: int) -> None:
        """Remembers what justifies that a trial is killed; an interruption justifies nothing."""
        limits, now, befell = self._world.plan.config.limits, self._world.now, self._world.befell[number]
        if limits.trial_s is not None and now - self._world.begun[number] > limits.trial_s - _A_STEP_S:
            befell.append("failed")
        if now - self._world.asked_to_stop.get(number, now) > _STOP_PATIENCE_S - _A_STEP_S:
            befell.append("failed")
        silent = (
            limits.heartbeat_timeout_s is not None
            and now - self._heard[number] > limits.heartbeat_timeout_s - _A_STEP_S
        )
        if silent or self._processes[number].bytes > (limits.memory_gb or 1024) * 2**30:
            befell.append("died")

    def private_bytes(self, number: int) -> int | None:
        self._generation.step(f"memory of {number}")
        return self._processes[number].bytes if number in self._processes else None

    def close(self) -> None:
        if self._generation.alive:
            for process in list(self._processes.values()):
                process.end(-9)
