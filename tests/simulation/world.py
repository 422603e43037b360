"""The simulated world: virtual time, injected faults, the processes; and the lifetime of one supervisor in it.

Nothing here knows the supervisor's code. The replacements of clock, files, databases and processes ask the world at
each step whether to inject a fault.
"""

import heapq
import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NoReturn

from rnnexp.home import Home, StudyFolder
from tests.simulation.plan import Plan

Cause = Literal["crash", "failure", "data error", "disk full"]
"""What may justify that an attempt ended without a result. A crash may be retried; a failure may not."""


class Killed(BaseException):
    """The supervisor's process has been killed. No `except Exception` may catch this."""


class Violation(Exception):
    """An invariant does not hold."""


class World:
    """All that outlives a supervisor: the time, the files, the databases, and the trials' processes."""

    def __init__(self, plan: Plan, home: Home, *, tracing: bool) -> None:
        """Args:
        plan: what to simulate.
        home: an empty folder.
        tracing: whether to record a line for each event.
        """
        self.plan, self.home = plan, home
        self.rng = random.Random(plan.seed + 1_000_003)
        self.now = 0.0
        self.wall_offset_s = 1_700_000_000.0
        self.trace: list[str] | None = [] if tracing else None
        self.injected: Counter[str] = Counter()
        self.n_faults_left = plan.n_faults
        self.causes: defaultdict[int, list[Cause]] = defaultdict(list)
        self.started_at: dict[int, float] = {}
        self.stop_requested_at: dict[int, float] = {}
        self.stop_taken_at: dict[int, float] = {}
        self.environment_unfit_until = 0.0
        self.lost_models: set[int] = set()
        self.violation = ""
        self._divergence: dict[tuple[int, int], bool] = {}
        self.disk_nearly_full_until = 0.0
        self.processes: list[Any] = []
        self.folder_locks: dict[Path, Any] = {}
        self.n_generations = 0
        self.last_fault_at = 0.0
        self._scheduled: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._rates = {
            place: (sum(rates.values()), tuple(rates), tuple(rates.values())) for place, rates in plan.rates.items()
        }

    @property
    def folder(self) -> StudyFolder:
        return self.home.study(self.plan.config.study)

    def wall_time(self) -> float:
        return self.now + self.wall_offset_s

    def log(self, source: str, text: str) -> None:
        """Adds a line to the trace."""
        if self.trace is not None:
            self.trace.append(f"{self.now:10.3f}  {source:<12}  {text.replace(str(self.home.root), 'HOME')}")

    def draw_fault(self, place: str) -> str | None:
        """Returns the fault to inject at this place now, or None."""
        total, kinds, rates = self._rates[place]
        if self.rng.random() >= total or self.n_faults_left == 0:
            return None
        kind = self.rng.choices(kinds, rates)[0]
        self.n_faults_left -= 1
        self.injected[kind] += 1
        self.last_fault_at = self.now
        self.log("FAULT", f"{kind} ({place})")
        return kind

    def diverges(self, number: int, epoch: int) -> bool:
        """Tells whether a trial's loss is not finite in an epoch. A repeated epoch has the same loss."""
        if (number, epoch) not in self._divergence:
            self._divergence[number, epoch] = self.draw_fault("epoch") is not None
        return self._divergence[number, epoch]

    def has_diverged(self, number: int, epoch: int) -> bool:
        """Tells whether a trial's loss was found not to be finite in an epoch."""
        return self._divergence.get((number, epoch), False)

    def schedule(self, delay_s: float, action: Callable[[], None]) -> None:
        """Calls a function after a delay."""
        heapq.heappush(self._scheduled, (self.now + delay_s, next(self._order), action))

    def advance(self, until: float) -> None:
        """Advances the time, and calls all functions that are due."""
        while self._scheduled and self._scheduled[0][0] <= until:
            when, _, action = heapq.heappop(self._scheduled)
            self.now = max(self.now, when)
            action()
        self.now = max(self.now, until)

    def next_due(self) -> float:
        """Returns when the next scheduled function is due."""
        return self._scheduled[0][0] if self._scheduled else float("inf")


class Generation:
    """The lifetime of one supervisor."""

    def __init__(self, world: World, start_second_supervisor: Callable[[], None]) -> None:
        """Args:
        world: where it runs.
        start_second_supervisor: tries to run the study at the same time; raises `Violation` if that succeeds.
        """
        self.world = world
        self.alive = True
        self.receive_signal: Callable[[int], None] | None = None
        self.signal: int | None = None
        self.run_sender: Callable[[], None] = lambda: None
        self.write_failed = False
        self._is_removing = False
        self._start_second_supervisor = start_second_supervisor
        world.n_generations += 1
        self.number = world.n_generations

    def step(self, where: str, place: str = "idle") -> None:
        """One step of the supervisor, at which a fault may be injected.

        Args:
            where: what the supervisor does, for the trace.
            place: `write` if the step changes something, where faults do the most damage.
        """
        if not self.alive:
            raise Killed
        world = self.world
        if place == "write":
            world.advance(world.now + world.rng.choice((0.0, 0.001, 0.02)))
            if world.rng.random() < 0.2:
                self.run_sender()
        kind = world.draw_fault(place)
        if kind is not None:
            self._apply_fault(kind, where)

    @contextmanager
    def removing_files(self, where: str) -> Iterator[None]:
        """While several files are removed: the supervisor may be killed between two of them."""
        self.step(where, "write")
        self._is_removing = True
        try:
            yield
        finally:
            self._is_removing = False
        self.step(f"after {where}", "write")

    def before_removal(self) -> None:
        """Is called before any file is removed."""
        if self._is_removing:
            self._is_removing = False
            self.step("the middle of a removal", "removal")
            self._is_removing = True

    def _apply_fault(self, kind: str, where: str) -> None:
        world = self.world
        if kind in ("supervisor killed", "power loss"):
            self.kill(where, power_loss=kind == "power loss")
        elif kind == "signal":
            self._deliver_signal(where)
        elif kind == "clock jump":
            jump_s = world.rng.choice((-1, 1)) * world.rng.choice((0.5, 30.0, 4000.0, 90_000.0))
            world.wall_offset_s += jump_s
            world.log("clock", f"jumps by {jump_s:g} s")
        elif kind == "second supervisor":
            self._start_second_supervisor()
        elif kind == "supervisor stalls":
            world.advance(world.now + world.rng.uniform(1, 40))
        elif kind == "stop request":
            self._request_stop()

    def _deliver_signal(self, where: str) -> None:
        number = self.world.rng.choice((2, 15))
        if self.receive_signal is None or self.signal is not None:
            self.kill(f"{where}, by a signal")
        self.world.log("supervisor", f"receives signal {number} at {where}")
        self.signal = number
        assert self.receive_signal is not None
        self.receive_signal(number)

    def _request_stop(self) -> None:
        world = self.world
        running = sorted({process.number for process in world.processes})
        number = world.rng.choice(running or [0])
        world.stop_requested_at[number] = world.now
        world.folder.stop_requests.mkdir(parents=True, exist_ok=True)
        (world.folder.stop_requests / str(number)).touch()
        world.log("user", f"requests trial {number} to stop")

    def kill(self, where: str, *, power_loss: bool = False) -> NoReturn:
        """Ends the supervisor as SIGKILL does. Its trials become orphans; a power loss ends them too."""
        self.alive = False
        self.world.log("supervisor", f"{'loses power' if power_loss else 'is killed'} at {where}")
        for process in list(self.world.processes):
            if power_loss:
                process.end(-9)
            else:
                process.become_orphan()
        raise Killed


class SimClock:
    """The clock of the supervisor and of the study's lock."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation

    def time(self) -> float:
        self._generation.step("the clock")
        return self._generation.world.wall_time()

    def monotonic(self) -> float:
        self._generation.step("the clock")
        return self._generation.world.now

    def sleep(self, seconds: float) -> None:
        self._generation.world.advance(self._generation.world.now + seconds)
