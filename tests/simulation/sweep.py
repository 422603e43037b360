"""One simulated sweep: starts supervisors, one after another, until the study is complete, as `rnnexp sweep` does."""

import contextlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

from rnnexp import disk, locks
from rnnexp.config.sweep import SweepConfig
from rnnexp.config.trial import TrialConfig
from rnnexp.errors import DataError, StorageLostError, StudyError
from rnnexp.home import Home, TrialFolder
from rnnexp.storage import postgres, study_lock
from rnnexp.tracking.ownership import Ownership
from rnnexp.trial import events
from tests.simulation import plan
from tests.simulation.invariants import InvariantChecker, n_expected
from tests.simulation.mlflow_fake import FakeClient, FakeServer
from tests.simulation.modules import Modules, real
from tests.simulation.sim_executor import SimExecutor
from tests.simulation.sim_nodes import SimRemoteExecutor
from tests.simulation.sim_sender import SimSender
from tests.simulation.sim_storage import SimRecords, SimStorage, faulty_append
from tests.simulation.sim_training import seconds_of
from tests.simulation.world import Generation, Killed, SimClock, Violation, World

_MAX_GENERATIONS = 80
_MAX_SECONDS_WITHOUT_FAULT = 7200.0
_append = events.append
_unlink = Path.unlink


@dataclass(frozen=True)
class Result:
    """The result of a simulated sweep.

    Attributes:
        seed: the seed of the sweep.
        violation: the violated invariant; empty if all hold.
        injected: the number of injected faults of each kind.
        generations: how many supervisors were started.
        seconds: the virtual time.
        trace: a line for each event, if requested.
    """

    seed: int
    violation: str
    injected: Counter[str]
    generations: int
    seconds: float
    trace: list[str] = field(default_factory=list)


def simulate(
    seed: int, modules: Modules | None = None, *, tracing: bool = False, favoured: Collection[str] = ()
) -> Result:
    """Simulates the sweep of a seed to its end, or to the first violation.

    Args:
        seed: determines everything that happens.
        modules: the code to run; None for the real code.
        tracing: whether to record a trace.
        favoured: kinds of fault that are frequent.
    """
    root = Path(tempfile.mkdtemp(prefix="rnnexp-sim-", dir=_memory_disk()))
    world = World(plan.draw(seed, favoured=favoured), Home.at(root), tracing=tracing)
    violation = ""
    try:
        _Sweep(world, modules or real()).run()
    except Violation as found:
        violation = str(found)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    world.log("END", violation or "all invariants hold")
    return Result(seed, violation, +world.injected, world.n_generations, world.now, world.trace or [])


@lru_cache(maxsize=1)
def _memory_disk() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


class _Sweep:
    def __init__(self, world: World, modules: Modules) -> None:
        self._world, self._modules = world, modules
        self._storage = SimStorage(world)
        self._server = FakeServer(world)
        self._invariants = InvariantChecker(world, self._storage, self._server)

    def run(self) -> None:
        """Starts supervisors until all trials have finished and MLflow has all events; then checks the end."""
        world, config = self._world, self._world.plan.config
        has_grown = False
        for _ in range(_MAX_GENERATIONS):
            outcome = self._run_generation(config)
            self._invariants.check_after_generation(outcome, config)
            done = self._invariants.n_finished >= n_expected(config)
            if world.plan.more_trials and not has_grown and (done or world.rng.random() < 0.2):
                has_grown = True
                world.injected["larger budget"] += 1
                budget = config.budget.model_copy(update={"trials": config.n_trials + world.plan.more_trials})
                config = config.model_copy(update={"budget": budget})
                done = False
            if (
                done
                and outcome is not None
                and not outcome.unsent
                and not outcome.halt_reason
                and outcome.signal is None
            ):
                break
            world.advance(world.now + world.rng.choice((0.05, 0.5, 5.0, 600.0)))
            self._damage_a_model()
            self._server.flush()
        else:
            raise Violation(f"not complete after {_MAX_GENERATIONS} supervisors")
        world.advance(world.now + 120)
        self._server.flush()
        self._invariants.check_at_end(config)

    def _damage_a_model(self) -> None:
        """Damages a file of a trial that has not finished, while no supervisor runs."""
        world = self._world
        numbers = [number for number in world.folder.numbers() if not self._invariants.is_finished(number)]
        folders = [(number, world.folder.trial(number)) for number in numbers]
        candidates = [
            (number, path) for number, folder in folders for path in (folder.best, folder.held_out) if path.exists()
        ]
        kind = world.draw_fault("between starts") if candidates else None
        if kind is None:
            return
        number, path = world.rng.choice(candidates)
        world.lost_models.add(number)
        if kind == "model missing":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:20])

    def _run_generation(self, config: SweepConfig) -> Any:
        """Runs one supervisor. Returns its outcome; None if it was killed, could not start, or a write failed."""
        world = self._world
        generation = Generation(world, self._start_second_supervisor)
        world.log("supervisor", f"start {generation.number}, {config.n_trials} trials")
        self._storage.generation = generation
        clock = SimClock(generation)
        try:
            with self._patched(generation, clock), study_lock.hold_study_lock(world.home, config.study):
                outcome = self._supervise(config, generation, clock)
        except Killed:
            return None
        except Violation:
            raise
        except Exception as error:
            expected = disk.is_full(error) or disk.is_locked(error) or postgres.loss(error) is not None
            if generation.write_failed and expected:
                world.log("supervisor", f"could not start ({error})")
                return None
            raise Violation(f"unexpected {type(error).__name__}: {error}") from error
        finally:
            generation.alive = False
            self._storage.generation = None
        world.log("supervisor", f"ends: {outcome}")
        return None if generation.write_failed else outcome

    def _supervise(self, config: SweepConfig, generation: Generation, clock: SimClock) -> Any:
        world, modules = self._world, self._modules
        store = modules.store.StudyStore.open(world.home, config, "digest", seconds_of)
        if world.plan.is_remote:
            executor: SimExecutor = SimRemoteExecutor(
                generation, world.plan.n_slots, _append, self._invariants, config, modules
            )
        else:
            executor = SimExecutor(generation, world.plan.n_slots, _append, self._invariants, config)
        records = SimRecords(generation, modules.records.TrialRecords(world.folder), self._invariants.state_of)
        sender = SimSender(
            generation, self._server, modules.sender.Outbox, lambda: self._connect(generation, store.identity)
        )
        supervisor = modules.supervisor.Supervisor(
            config,
            store,
            records,
            executor,
            sender,
            _Reporter(generation),
            self._prepare,
            clock,
            check_lock=lambda: self._check_lock(generation),
        )
        generation.receive_signal = supervisor.receive_signal
        try:
            return supervisor.run(lambda _: generation.step("show the result"))
        finally:
            executor.close()

    def _check_lock(self, generation: Generation) -> None:
        if self._world.draw_fault("lock"):
            generation.write_failed = True
            raise StorageLostError("the lock of the study is lost")

    def _prepare(self, config: TrialConfig) -> Path:
        if self._world.draw_fault("prepare"):
            for number in range(100):  # which trial it is, is not known here
                self._world.causes[number].append("data error")
            raise DataError("reviews: too few rows")
        return self._world.home.root

    def _connect(self, generation: Generation, identity: str) -> Callable[[int], object]:
        world, tracking = self._world, self._modules.projection
        client = FakeClient(self._server, generation)
        projection = tracking.Projection(client, "1", world.folder, Ownership("s", identity), draw=_draw)
        replay: Callable[[int], object] = projection.replay
        return replay

    def _start_second_supervisor(self) -> None:
        """Tries to take the study's lock, which must be refused."""
        try:
            with study_lock.hold_study_lock(self._world.home, "s"):
                pass
        except StudyError:
            self._world.log("supervisor 2", "is refused")
        else:
            raise Violation("a second supervisor was not refused")

    @contextlib.contextmanager
    def _patched(self, generation: Generation, clock: SimClock) -> Iterator[None]:
        """Replaces what is slow or must not be real, while a supervisor runs."""
        with contextlib.ExitStack() as stack:

            def patch(place: ModuleType | type, name: str, value: Any) -> None:
                stack.enter_context(mock.patch.object(place, name, value))

            patch(locks, "time", _LockTime(clock, self._world))
            patch(Path, "unlink", _faulty_unlink(generation))
            patch(events, "append", faulty_append(generation, _append))
            write = self._modules.trial_files.write_returned
            patch(self._modules.trial_files, "write_returned", _faulty_write(generation, write))
            patch(self._modules.store, "open_storage", lambda home: self._storage)
            patch(self._modules.event_writer, "load_mapping", self._load_json)
            patch(
                self._modules.event_writer,
                "delete_artifacts",
                lambda client, run_id, path: client.delete_artifacts(run_id, path),
            )
            patch(TrialConfig, "to_yaml", lambda config: json.dumps(config.model_dump()))
            yield

    def _load_json(self, path: Path) -> dict[str, Any]:
        """JSON is also YAML; PyYAML would need milliseconds to load it."""
        loaded: dict[str, Any] = json.loads(path.read_text())
        return loaded


_Write = Callable[[TrialFolder, Mapping[str, bytes | None]], None]


def _faulty_write(generation: Generation, real_write: _Write) -> _Write:
    def write(folder: TrialFolder, files: Mapping[str, bytes | None]) -> None:
        real = disk.replacing

        def replacing(path: Path) -> Any:
            generation.step(f"before {path.name} of {folder.root.name}", "write")
            return real(path)

        with mock.patch.object(disk, "replacing", replacing):  # the supervisor may be killed between two files
            real_write(folder, files)

    return write


def _faulty_unlink(generation: Generation) -> Callable[..., None]:
    def unlink(path: Path, missing_ok: bool = False) -> None:
        generation.before_removal()
        _unlink(path, missing_ok)

    return unlink


class _LockTime:
    """Replaces the module `time` for the study's lock."""

    def __init__(self, clock: SimClock, world: World) -> None:
        self._world = world
        self.sleep = clock.sleep
        self.strftime = lambda *_: "then"
        self.localtime = lambda *_: None

    def time(self) -> float:
        return self._world.wall_time()

    def monotonic(self) -> float:
        return self._world.now


class _Reporter:
    """A `ProgressReporter` that writes the trace. The supervisor may be killed at each call."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation

    def started(self, number: int, settings: dict[str, Any], attempt: int, from_epoch: int, epochs: int) -> None:
        self._generation.step("reporter: started")

    def epoch_ended(self, number: int, event: Any) -> None:
        self._generation.step("reporter: epoch ended")

    def ended(self, number: int, state: str, value: float | None, reason: str) -> None:
        self._generation.world.log("supervisor", f"trial {number} is {state}, {value}: {reason}")
        self._generation.step("reporter: ended")

    def note(self, line: str) -> None:
        self._generation.world.log("supervisor", line)
        self._generation.step("reporter: note")

    def tick(self, snapshot: Any) -> None:
        world = self._generation.world
        self._generation.step("reporter: tick")
        if world.now - world.last_fault_at > _MAX_SECONDS_WITHOUT_FAULT:
            raise Violation(f"the study does not end within {_MAX_SECONDS_WITHOUT_FAULT:g} s of the last fault")


def _draw(folder: TrialFolder, title: str) -> None:
    """Writes a history that can be logged, instead of drawing the curves."""
    if events.epochs(events.read(folder.events)):
        folder.history.write_text(title)
