"""One simulated sweep: supervisors are started until the study is complete, each in turn as `rnnexp sweep` does it."""

import contextlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

from rnnexp import disk, locks
from rnnexp.config.sweep import SweepConfig
from rnnexp.config.trial import TrialConfig
from rnnexp.errors import DataError, StudyError
from rnnexp.home import Home, TrialFolder
from rnnexp.storage import study_lock
from rnnexp.trial import events
from tests.simulation import invariants, plan
from tests.simulation.mlflow_fake import FakeClient, FakeServer
from tests.simulation.modules import Modules, real
from tests.simulation.sending import SimSender
from tests.simulation.slots import SimExecutor
from tests.simulation.stores import SimRecords, SimStorage, torn_append
from tests.simulation.world import Generation, Killed, SimClock, Violation, World

_MOST_GENERATIONS = 80
_MOST_SECONDS_WITHOUT_A_FAULT = 7200.0
_append = events.append
_unlink = Path.unlink


@dataclass(frozen=True)
class Result:
    """What a simulated sweep came to.

    Attributes:
        seed: that of the sweep.
        violation: which invariant does not hold, or nothing.
        injected: faults by kind.
        generations: supervisors that were started.
        seconds: of virtual time.
        trace: a line for everything that happened, if that was asked for.
    """

    seed: int
    violation: str
    injected: Counter[str]
    generations: int
    seconds: float
    trace: list[str] = field(default_factory=list)


def simulate(seed: int, modules: Modules | None = None, *, tracing: bool = False) -> Result:
    """Simulates the sweep of a seed, to its end or to the first violation.

    Args:
        seed: draws everything.
        modules: the code, if it is not the real one.
        tracing: whether the result has a trace.
    """
    root = Path(tempfile.mkdtemp(prefix="rnnexp-sim-", dir=_memory()))
    world = World(plan.draw(seed), Home.at(root), tracing=tracing)
    violation = ""
    try:
        _Sweep(world, modules or real()).run()
    except Violation as found:
        violation = str(found)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    world.say("END", violation or "every invariant holds")
    return Result(seed, violation, +world.injected, world.generations, world.now, world.trace or [])


@lru_cache(maxsize=1)
def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


class _Sweep:
    def __init__(self, world: World, modules: Modules) -> None:
        self._world, self._modules = world, modules
        self._storage = SimStorage(world)
        self._server = FakeServer(world)
        self._seen = invariants.TrialSnapshot(world, self._storage, self._server)
        self._yaml: dict[str, Any] = {}

    def run(self) -> None:
        """Starts supervisors until all is done and told; then checks what must hold at the end."""
        world, config = self._world, self._world.plan.config
        grown = False
        for _ in range(_MOST_GENERATIONS):
            outcome = self._generation(config)
            self._seen.after_a_generation(outcome, config)
            done = self._seen.n_finished >= config.n_trials
            if world.plan.more_trials and not grown and (done or world.rng.random() < 0.2):
                grown = True
                world.injected["larger budget"] += 1
                budget = config.budget.model_copy(update={"trials": config.n_trials + world.plan.more_trials})
                config = config.model_copy(update={"budget": budget})
                done = False
            if done and outcome is not None and not outcome.unsent and not outcome.halted and outcome.signal is None:
                break
            world.advance(world.now + world.rng.choice((0.05, 0.5, 5.0, 600.0)))
            self._server.flush()
        else:
            raise Violation(f"not complete after {_MOST_GENERATIONS} supervisors")
        world.advance(world.now + 120)
        self._server.flush()
        self._seen.at_the_end(config)

    def _generation(self, config: SweepConfig) -> Any:
        """One supervisor; returns its outcome, None where it was killed or could not begin."""
        world = self._world
        generation = Generation(world, self._second_supervisor)
        world.say("supervisor", f"start {generation.number}, {config.n_trials} trials")
        self._storage.generation = generation
        clock = SimClock(generation)
        try:
            with self._replaced(generation, clock), study_lock.hold_study_lock(world.folder.lock, config.study):
                outcome = self._supervise(config, generation, clock)
        except Killed:
            return None
        except Violation:
            raise
        except Exception as error:
            if generation.disturbed and (disk.is_full(error) or disk.is_locked(error)):
                world.say("supervisor", f"could not begin ({error})")
                return None
            raise Violation(f"unexpected {type(error).__name__}: {error}") from error
        finally:
            generation.alive = False
            self._storage.generation = None
        world.say("supervisor", f"ends: {outcome}")
        return None if generation.disturbed else outcome

    def _supervise(self, config: SweepConfig, generation: Generation, clock: SimClock) -> Any:
        world, modules = self._world, self._modules
        store = modules.store.StudyStore.open(world.home, config, "digest")
        executor = SimExecutor(generation, world.plan.n_slots, _append, self._seen.standing_of)
        records = SimRecords(generation, modules.records.TrialRecords(world.folder), self._seen.state_of)
        sender = SimSender(
            generation, self._server, modules.sender.Outbox, lambda: self._connect(generation, store.identity)
        )
        supervisor = modules.supervisor.Supervisor(
            config, store, records, executor, sender, _Watch(generation, self._seen), self._prepare, 1, clock
        )
        generation.receive_signal = supervisor.receive_signal
        try:
            return supervisor.run()
        finally:
            executor.close()

    def _prepare(self, config: TrialConfig) -> Path:
        if self._world.strike("prepare"):
            for process_number in range(100):
                self._world.befell[process_number].append("unfit")
            raise DataError("reviews: too few rows")
        return self._world.home.root

    def _connect(self, generation: Generation, identity: str) -> Callable[[int], object]:
        world, tracking = self._world, self._modules.projection
        client = FakeClient(self._server, generation)
        projection = tracking.Projection(client, "1", "home", world.folder, "s", identity, draw=_draw)
        projection._delete_artifacts = client.delete_artifacts
        replay: Callable[[int], object] = projection.replay
        return replay

    def _second_supervisor(self) -> None:
        """Must be refused."""
        try:
            with study_lock.hold_study_lock(self._world.folder.lock, "s"):
                pass
        except StudyError:
            self._world.say("supervisor 2", "is refused")
        else:
            raise Violation("a second supervisor was let in")

    @contextlib.contextmanager
    def _replaced(self, generation: Generation, clock: SimClock) -> Iterator[None]:
        """Stands in for what is slow or must not be real, while a supervisor lives."""
        with contextlib.ExitStack() as stack:

            def put(place: ModuleType | type, name: str, value: Any) -> None:
                stack.enter_context(mock.patch.object(place, name, value))

            put(locks, "time", _LockTime(clock, self._world))
            put(Path, "unlink", _unlink_of(generation))
            put(events, "append", torn_append(generation, _append))
            put(self._modules.store, "open_storage", lambda home: self._storage)
            put(self._modules.projection, "load_mapping", self._load_json)
            put(TrialConfig, "to_yaml", lambda config: json.dumps(config.model_dump()))
            yield

    def _load_json(self, path: Path) -> dict[str, Any]:
        """JSON is YAML; PyYAML needs milliseconds for it."""
        loaded: dict[str, Any] = json.loads(path.read_text())
        return loaded


def _unlink_of(generation: Generation) -> Callable[..., None]:
    def unlink(path: Path, missing_ok: bool = False) -> None:
        generation.before_removal()
        _unlink(path, missing_ok)

    return unlink


class _LockTime:
    """The module `time`, for the study's lock."""

    def __init__(self, clock: SimClock, world: World) -> None:
        self._world = world
        self.sleep = clock.sleep
        self.strftime = lambda *_: "then"
        self.localtime = lambda *_: None

    def time(self) -> float:
        return self._world.wall()

    def monotonic(self) -> float:
        return self._world.now


class _Watch:
    """Looks on; at each call the supervisor may die."""

    def __init__(self, generation: Generation, seen: invariants.TrialSnapshot) -> None:
        self._generation, self._seen = generation, seen

    def started(self, number: int, settings: dict[str, Any], attempt: int, from_epoch: int, epochs: int) -> None:
        self._generation.step("watch: started")

    def epoch_ended(self, number: int, event: Any) -> None:
        self._generation.step("watch: epoch ended")

    def ended(self, number: int, state: str, value: float | None, reason: str) -> None:
        self._generation.world.say("supervisor", f"trial {number} is {state}, {value}: {reason}")
        self._generation.step("watch: ended")

    def note(self, line: str) -> None:
        self._generation.world.say("supervisor", line)
        self._generation.step("watch: note")

    def tick(self, standing: Any) -> None:
        world = self._generation.world
        self._generation.step("watch: tick")
        if world.now - world.latest_strike > _MOST_SECONDS_WITHOUT_A_FAULT:
            raise Violation("nothing ends any more")


def _draw(folder: TrialFolder, title: str) -> None:
    """Instead of the picture: a history that can be logged."""
    if events.epochs(events.read(folder.events)):
        folder.history.write_text(title)
