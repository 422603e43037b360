"""A round: one home, one sweep, some faults at random moments; then the study's end, and the checks."""

import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rnnexp.trial.states import State
from tests.drill import check, processes
from tests.drill.check import TrialSnapshot
from tests.drill.faults import KINDS, EndedError, Kind, Scene, Where, kill_supervisor
from tests.drill.sweeps import EPOCHS, STUDY, SWEEP, NotSurvivedError, Server, Sweep, World, borrow_cache, small_disk

FIRST_TRIALS, MORE_TRIALS, MOST_TRIALS = 5, 2, 12
_SMALL_DISK_MB = 160
_TRIES = 12


@dataclass
class Result:
    """What came of a round.

    Attributes:
        done: the faults that were brought about.
        left: those for which the study was over too soon.
        complaints: what did not survive.
    """

    done: list[Kind] = field(default_factory=list)
    left: list[Kind] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


class Round:
    """Brings about the faults, one after another."""

    def __init__(self, world: World, rng: random.Random, note: Callable[[str], None], most: int) -> None:
        """Args:
        world: where.
        rng: gives moments and victims.
        note: is told what happens.
        most: trials that the study may grow to while there are faults left.
        """
        self.sweep = Sweep(world, SWEEP, STUDY, "--trials", str(FIRST_TRIALS))
        self.result = Result()
        self._n_trials = FIRST_TRIALS
        self._scene = Scene(self.sweep, rng, [])
        self._rng, self._note, self._most = rng, note, most
        self._seen = TrialSnapshot()
        self._up = False

    def run(self, kinds: Sequence[Kind], reference: Sweep) -> Result:
        """Runs the sweep to its end, however often it takes."""
        queue, tries = list(kinds), 0
        try:
            while queue and tries < _TRIES * len(kinds):
                tries += 1
                if not self._go_on():
                    break
                if self._one(queue[0]):
                    self.result.done.append(queue.pop(0))
            self.result.left = queue
            self._finish(reference)
        except NotSurvivedError as error:
            self._complain(str(error))
        finally:
            self.sweep.end()
        return self.result

    def _complain(self, *complaints: str) -> None:
        for complaint in complaints:
            self._note(f"NOT SURVIVED: {complaint}")
            self.result.complaints.append(complaint)

    def _go_on(self) -> bool:
        """Settles a sweep that has ended by itself; tells whether more faults fit in."""
        if not self._up or self.sweep.running:
            return True
        code = self._settle()
        if code != 0:
            self._complain(f"exit code {code} of itself; it said last: {self.sweep.tail}")
        elif self._n_trials >= self._most:
            return False
        else:
            self._n_trials = min(self._n_trials + MORE_TRIALS, self._most)
            self.sweep.arguments[-1] = str(self._n_trials)
        return True

    def _start(self) -> None:
        if not self._up:
            self.sweep.start()
            self._up = True

    def _one(self, kind: Kind) -> bool:
        """Brings about one fault; tells whether it could be."""
        try:
            if kind.harm is not None:
                return self._harm(kind)
            self._start()
            self._moment(kind)
            self._note(f"{kind.name}")
            assert kind.inject is not None
            kind.inject(self._scene)
        except EndedError:
            return False
        except NotSurvivedError as error:
            self._complain(f"{kind.name}: {error}")
        if self._up and not self.sweep.running:
            code = self._settle()
            clean = code in (130, 143) and "twice" not in kind.name
            if clean and any(row.state is State.RUNNING for row in self.sweep.view().trials):
                self._complain(f"{kind.name}: Optuna has trials RUNNING after a clean end")
        return True

    def _moment(self, kind: Kind) -> None:
        if kind.inject is kill_supervisor and self._rng.random() < 0.4:
            self._scene.pause(0.2, 9)  # while it still imports, creates its databases, takes over
            return
        self._scene.victim()
        self._scene.pause(0.1, 2.5)

    def _harm(self, kind: Kind) -> bool:
        """Harms a file between two starts."""
        assert kind.harm is not None
        if self._up:
            self._scene.victim()
            self._scene.pause(0.5, 3)
            kill_supervisor(self._scene)
            self._settle()
        done = kind.harm(self.sweep, self._rng)
        if done:
            self._note(kind.name)
        else:
            self._start()
            self._scene.epoch()
        return done

    def _settle(self) -> int:
        """Looks on after the supervisor's end: nothing else lives, nothing that had finished has changed."""
        code = self.sweep.wait(10)
        self._up = False
        left = processes.wait_gone(self.sweep.sessions, 20, apart=self._spared())
        self._complain(*(f"lives on without its supervisor: {one.pid} {one.command[:80]}" for one in left))
        self._complain(*self._seen.look(self.sweep))
        return code

    def _spared(self) -> list[int]:
        """Trials stopped on purpose live on until the next start; with them, what tracks their resources."""
        hung = [pid for pid in self._scene.hung if processes.alive(pid)]
        if not hung:
            return []
        trackers = (one for one in processes.of_sessions(self.sweep.sessions) if "resource_tracker" in one.command)
        return [*hung, *(one.pid for one in trackers)]

    def _finish(self, reference: Sweep) -> None:
        self.sweep.until_complete()
        self._settle()
        self._complain(*check.whole(self.sweep, self._n_trials, EPOCHS))
        self._complain(*check.same(self.sweep, reference))


def in_a_world(root: Path, where: Where, reference: Sweep, act: Callable[[World], Result]) -> Result:
    """Makes the world of a round and runs it there.

    Raises:
        PermissionError: where no small disk may be mounted.
    """
    with contextlib.ExitStack() as stack:
        root.mkdir(parents=True)
        place = stack.enter_context(small_disk(root / "disk", _SMALL_DISK_MB)) if where is Where.SMALL_DISK else root
        server = Server(root / "server") if where is Where.SERVER else None
        if server is not None:
            stack.callback(server.kill)
            server.start()
        home = place / "home"
        borrow_cache(reference.world.home, home)
        return act(World(root, home, server))


def plan(n_faults: int, rng: random.Random) -> list[Kind]:
    """Returns the faults of a drill: each kind three times, the rest by weight; fewer where fewer are asked for."""
    least = 3 * list(KINDS)
    if n_faults <= len(least):
        return rng.sample(least, n_faults)
    return least + rng.choices(KINDS, [kind.weight for kind in KINDS], k=n_faults - len(least))


def deal(faults: Sequence[Kind], size: int, rng: random.Random) -> list[tuple[Where, list[Kind]]]:
    """Parts the faults into rounds; each kind gets into a round in which it can happen."""
    rest = [kind for kind in faults if kind.where is Where.ANY]
    rng.shuffle(rest)
    rounds: list[tuple[Where, list[Kind]]] = []
    for where in (Where.SERVER, Where.SMALL_DISK):
        own = [kind for kind in faults if kind.where is where]
        rng.shuffle(own)
        while own:
            some, own = own[: size // 3], own[size // 3 :]
            fill = size - len(some) if where is Where.SERVER else 3
            rounds.append((where, [*some, *rest[:fill]]))
            rest = rest[fill:]
    while rest:
        rounds.append((Where.ANY, rest[:size]))
        rest = rest[size:]
    return [(where, _in_bursts(kinds, rng)) for where, kinds in rounds]


def _in_bursts(kinds: Sequence[Kind], rng: random.Random) -> list[Kind]:
    """Orders the faults of a round at random; harm to files comes by twos and threes, for each needs an end."""
    live = [[kind] for kind in kinds if kind.harm is None]
    harms = [kind for kind in kinds if kind.harm is not None]
    rng.shuffle(harms)
    while harms:
        n = rng.randint(2, 3)
        live.append(harms[:n])
        harms = harms[n:]
    rng.shuffle(live)
    return [kind for burst in live for kind in burst]
