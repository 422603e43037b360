"""Virtual time, what strikes in it, and what was seen; a supervisor's one life in it.

Nothing here knows the supervisor's code. Whatever stands for time, files, stores and processes asks the world at each
step whether a fault strikes.
"""

import heapq
import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from rnnexp.home import Home, StudyFolder
from tests.simulation.plan import Plan


class Killed(BaseException):
    """The supervisor's process is gone: nothing of it may run any more, no `except` and no `finally`."""


class Violation(Exception):
    """An invariant does not hold."""


class World:
    """All that outlives a supervisor: the time, the files, the stores, and the trials' processes."""

    def __init__(self, plan: Plan, home: Home, *, tracing: bool) -> None:
        """Args:
        plan: what is simulated.
        home: an empty folder.
        tracing: whether to keep a line for everything that happens.
        """
        self.plan, self.home = plan, home
        self.rng = random.Random(plan.seed + 1_000_003)
        self.now = 0.0
        self.wall_offset_s = 1_700_000_000.0
        self.trace: list[str] | None = [] if tracing else None
        self.injected: Counter[str] = Counter()
        self.faults_left = plan.n_faults
        self.befell: defaultdict[int, list[str]] = defaultdict(list)
        self.begun: dict[int, float] = {}
        self.asked_to_stop: dict[int, float] = {}
        self.low_until = 0.0
        self.processes: list[Any] = []
        self.folder_locks: dict[int, Any] = {}
        self.generations = 0
        self.latest_strike = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._rates = {
            place: (sum(rates.values()), tuple(rates), tuple(rates.values())) for place, rates in plan.rates.items()
        }

    @property
    def folder(self) -> StudyFolder:
        return self.home.study(self.plan.config.study)

    def wall(self) -> float:
        return self.now + self.wall_offset_s

    def say(self, who: str, what: str) -> None:
        """Adds a line to the trace."""
        if self.trace is not None:
            self.trace.append(f"{self.now:10.3f}  {who:<12}  {what.replace(str(self.home.root), 'HOME')}")

    def strike(self, place: str) -> str | None:
        """Returns the fault that strikes here and now, or None."""
        total, kinds, rates = self._rates[place]
        if self.rng.random() >= total or self.faults_left == 0:
            return None
        kind = self.rng.choices(kinds, rates)[0]
        self.faults_left -= 1
        self.injected[kind] += 1
        self.latest_strike = self.now
        self.say("FAULT", f"{kind} ({place})")
        return kind

    def take_back(self, kind: str) -> None:
        """A fault that could do nothing where it struck was none."""
        self.faults_left += 1
        self.injected[kind] -= 1

    def later(self, delay_s: float, what: Callable[[], None]) -> None:
        """Has something happen in so many seconds."""
        heapq.heappush(self._due, (self.now + delay_s, next(self._order), what))

    def advance(self, until: float) -> None:
        """Lets time pass, and all happen that is due."""
        while self._due and self._due[0][0] <= until:
            when, _, what = heapq.heappop(self._due)
            self.now = max(self.now, when)
            what()
        self.now = max(self.now, until)

    def next_due(self) -> float:
        """Returns when the next thing is due."""
        return self._due[0][0] if self._due else float("inf")


class Generation:
    """One supervisor, from its start to its end or death."""

    def __init__(self, world: World, second_supervisor: Callable[[], None]) -> None:
        """Args:
        world: where it lives.
        second_supervisor: tries to run the study beside it; raises `Violation` if that can be done.
        """
        self.world = world
        self.alive = True
        self.receive_signal: Callable[[int], None] | None = None
        self.signal: int | None = None
        self.run_sender: Callable[[], None] = lambda: None
        self.disturbed = False
        self.removing = False
        self._second_supervisor = second_supervisor
        world.generations += 1
        self.number = world.generations

    def step(self, where: str, place: str = "idle") -> None:
        """One step of the supervisor's: perhaps its last.

        Args:
            where: what it does, for the trace.
            place: `write` where it changes something, which is when a fault hurts most.
        """
        if not self.alive:
            raise Killed
        world = self.world
        if place == "write":
            world.advance(world.now + world.rng.choice((0.0, 0.001, 0.02)))
            if world.rng.random() < 0.2:
                self.run_sender()
        kind = world.strike(place)
        if kind is not None:
            self._suffer(kind, where)

    @contextmanager
    def removes(self, where: str) -> Iterator[None]:
        """While several files are removed: between two of them it may die."""
        self.step(where, "write")
        self.removing = True
        try:
            yield
        finally:
            self.removing = False
        self.step(f"after {where}", "write")

    def before_removal(self) -> None:
        """A file is about to be removed, by whomever."""
        if self.removing:
            self.removing = False
            self.step("the middle of a removal", "removal")
            self.removing = True

    def _suffer(self, kind: str, where: str) -> None:
        world = self.world
        if kind in ("supervisor killed", "power loss"):
            self.die(where, power_loss=kind == "power loss")
        elif kind == "signal":
            self._be_signalled(where)
        elif kind == "clock jump":
            jump_s = world.rng.choice((-1, 1)) * world.rng.choice((0.5, 30.0, 4000.0, 90_000.0))
            world.wall_offset_s += jump_s
            world.say("clock", f"jumps by {jump_s:g} s")
        elif kind == "second supervisor":
            self._second_supervisor()
        elif kind == "supervisor stalls":
            world.advance(world.now + world.rng.uniform(1, 40))
        elif kind == "stop request":
            self._request_a_stop()

    def _be_signalled(self, where: str) -> None:
        number = self.world.rng.choice((2, 15))
        if self.receive_signal is None or self.signal is not None:
            self.die(f"{where}, by a signal")
        self.world.say("supervisor", f"gets signal {number} at {where}")
        self.signal = number
        assert self.receive_signal is not None
        self.receive_signal(number)

    def _request_a_stop(self) -> None:
        world = self.world
        running = sorted({process.number for process in world.processes})
        number = world.rng.choice(running or [0])
        world.asked_to_stop[number] = world.now
        world.folder.stop_requests.mkdir(parents=True, exist_ok=True)
        (world.folder.stop_requests / str(number)).touch()
        world.say("user", f"asks trial {number} to stop")

    def die(self, where: str, *, power_loss: bool = False) -> NoReturn:
        """Ends the supervisor as SIGKILL does; its trials are orphans, or gone with the power."""
        self.alive = False
        self.world.say("supervisor", f"{'loses power' if power_loss else 'is killed'} at {where}")
        for process in list(self.world.processes):
            if power_loss:
                process.end(-9)
            else:
                process.be_orphaned()
        raise Killed


class SimClock:
    """The time, as the supervisor and the lock read it."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation

    def time(self) -> float:
        self._generation.step("the clock")
        return self._generation.world.wall()

    def monotonic(self) -> float:
        self._generation.step("the clock")
        return self._generation.world.now

    def sleep(self, seconds: float) -> None:
        self._generation.world.advance(self._generation.world.now + seconds)
