"""A round: one home, one sweep, several faults at random moments; then the study is completed and checked."""

import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rnnexp.trial.states import State
from tests.drill import check, processes
from tests.drill.check import TrialSnapshot
from tests.drill.fault_context import FaultContext, SweepEndedError
from tests.drill.faults import KINDS, FaultKind, RoundType, kill_supervisor
from tests.drill.sweeps import EPOCHS, NotSurvivedError, Sandbox, Server, Sweep, copy_cache, small_disk

FIRST_TRIALS, MORE_TRIALS, MAX_TRIALS = 5, 2, 12
"""The budget of the first start; its increase if the study ends before all faults were injected; its maximum."""

_SMALL_DISK_MB = 160
_TRIES_PER_FAULT = 12


@dataclass
class Result:
    """The result of a round.

    Attributes:
        done: the faults that were injected.
        left: the faults that were not injected because the study ended too soon.
        problems: what the sweep did not survive.
    """

    done: list[FaultKind] = field(default_factory=list)
    left: list[FaultKind] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Round:
    """Injects faults into one sweep, one after another."""

    def __init__(self, sweep: Sweep, rng: random.Random, log: Callable[[str], None], max_trials: int) -> None:
        """Args:
        sweep: its last argument is the budget.
        rng: selects moments and trials.
        log: receives a line for each fault and each problem.
        max_trials: the budget may grow to this number while faults are left.
        """
        self.sweep = sweep
        self.sweep.arguments[-1] = str(FIRST_TRIALS)
        self.result = Result()
        self._n_trials = FIRST_TRIALS
        self._context = FaultContext(self.sweep, rng, [])
        self._rng, self._log, self._max_trials = rng, log, max_trials
        self._seen = TrialSnapshot()
        self._started = False

    def run(self, kinds: Sequence[FaultKind], reference: Sweep) -> Result:
        """Injects the faults, then runs the sweep until it is complete and checks it."""
        queue, n_tries = list(kinds), 0
        try:
            while queue and n_tries < _TRIES_PER_FAULT * len(kinds):
                n_tries += 1
                if not self._extend_ended_study():
                    break
                if self._inject_fault(queue[0]):
                    self.result.done.append(queue.pop(0))
            self.result.left = queue
            self._finish(reference)
        except NotSurvivedError as error:
            self._add_problems(str(error))
        finally:
            self.sweep.kill_all()
        return self.result

    def _add_problems(self, *problems: str) -> None:
        for problem in problems:
            self._log(f"NOT SURVIVED: {problem}")
            self.result.problems.append(problem)

    def _extend_ended_study(self) -> bool:
        """Raises the budget of a sweep that has ended without a fault; returns False if the maximum is reached."""
        if not self._started or self.sweep.running:
            return True
        code = self._check_after_end()
        if code != 0:
            self._add_problems(f"ended with exit code {code} without a fault; last output: {self.sweep.last_lines}")
        elif self._n_trials >= self._max_trials:
            return False
        else:
            self._n_trials = min(self._n_trials + MORE_TRIALS, self._max_trials)
            self.sweep.arguments[-1] = str(self._n_trials)
        return True

    def _start(self) -> None:
        if not self._started:
            self.sweep.start()
            self._started = True

    def _inject_fault(self, kind: FaultKind) -> bool:
        """Injects one fault; returns False if that was not possible."""
        try:
            if kind.damage is not None:
                return self._damage_files(kind)
            self._start()
            self._wait_for_moment(kind)
            self._log(f"{kind.name}")
            assert kind.inject is not None
            kind.inject(self._context)
        except SweepEndedError:
            return False
        except NotSurvivedError as error:
            self._add_problems(f"{kind.name}: {error}")
        if self._started and not self.sweep.running:
            code = self._check_after_end()
            clean = code in (129, 130, 143) and "twice" not in kind.name
            if clean and any(row.state is State.RUNNING for row in self.sweep.view().trials):
                self._add_problems(f"{kind.name}: Optuna has RUNNING trials after a clean end")
        return True

    def _wait_for_moment(self, kind: FaultKind) -> None:
        if kind.inject is kill_supervisor and self._rng.random() < 0.4:
            self._context.sleep(0.2, 9)  # during its start: imports, creation of databases, recovery of trials
            return
        self._context.wait_for_trial()
        self._context.sleep(0.1, 2.5)

    def _damage_files(self, kind: FaultKind) -> bool:
        """Damages a file between two starts."""
        assert kind.damage is not None
        if self._started:
            self._context.wait_for_trial()
            self._context.sleep(0.5, 3)
            kill_supervisor(self._context)
            self._check_after_end()
        done = kind.damage(self.sweep, self._rng)
        if done:
            self._log(kind.name)
        else:
            self._start()
            self._context.wait_for_epoch()
        return done

    def _check_after_end(self) -> int:
        """Checks that all other processes end with the supervisor and that no finished trial has changed."""
        code = self.sweep.wait(10)
        self._started = False
        left = processes.wait_until_gone(self.sweep.sessions, 20, ignored=self._stopped_processes())
        self._add_problems(*(f"still alive without its supervisor: {process}" for process in left))
        self._add_problems(*self._seen.update(self.sweep))
        return code

    def _stopped_processes(self) -> list[int]:
        """Returns the stopped trials, which stay alive until the next start, and their resource trackers."""
        stopped = [pid for pid in self._context.stopped if processes.is_alive(pid)]
        if not stopped:
            return []
        others = processes.in_sessions(self.sweep.sessions)
        return [*stopped, *(process.pid for process in others if "resource_tracker" in process.command)]

    def _finish(self, reference: Sweep) -> None:
        self.sweep.run_to_completion()
        self._check_after_end()
        self._add_problems(*check.check_finished_study(self.sweep, self._n_trials, EPOCHS))
        self._add_problems(*check.check_same_as_reference(self.sweep, reference))


def run_in_sandbox(root: Path, round_type: RoundType, reference: Sweep, action: Callable[[Sandbox], Result]) -> Result:
    """Creates the sandbox of a round and runs the round in it.

    Raises:
        PermissionError: if the round needs a small disk and this user may not mount one.
    """
    with contextlib.ExitStack() as stack:
        root.mkdir(parents=True)
        if round_type is RoundType.SMALL_DISK:
            place = stack.enter_context(small_disk(root / "disk", _SMALL_DISK_MB))
        else:
            place = root
        server = Server(root / "server") if round_type in (RoundType.SERVER, RoundType.TWO_HOMES) else None
        if server is not None:
            stack.callback(server.kill)
            server.start()
        home = place / "home"
        copy_cache(reference.sandbox.home, home)
        return action(Sandbox(root, home, server))


def plan_faults(n_faults: int, rng: random.Random) -> list[FaultKind]:
    """Returns the faults of a drill: each kind three times, the rest by weight; a sample if fewer are requested."""
    minimum = 3 * list(KINDS)
    if n_faults <= len(minimum):
        return rng.sample(minimum, n_faults)
    return minimum + rng.choices(KINDS, [kind.weight for kind in KINDS], k=n_faults - len(minimum))


def split_into_rounds(
    faults: Sequence[FaultKind], size: int, rng: random.Random
) -> list[tuple[RoundType, list[FaultKind]]]:
    """Splits the faults into rounds; each fault is put into a round of a type in which it is possible."""
    rest = [kind for kind in faults if kind.round_type is RoundType.ANY]
    rng.shuffle(rest)
    rounds: list[tuple[RoundType, list[FaultKind]]] = []
    for round_type in (RoundType.SERVER, RoundType.SMALL_DISK):
        special = [kind for kind in faults if kind.round_type is round_type]
        rng.shuffle(special)
        while special:
            chosen, special = special[: size // 3], special[size // 3 :]
            n_others = size - len(chosen) if round_type is RoundType.SERVER else 3
            rounds.append((round_type, [*chosen, *rest[:n_others]]))
            rest = rest[n_others:]
    while rest:
        rounds.append((RoundType.ANY, rest[:size]))
        rest = rest[size:]
    return [(round_type, _shuffle(kinds, rng)) for round_type, kinds in rounds]


def _shuffle(kinds: Sequence[FaultKind], rng: random.Random) -> list[FaultKind]:
    """Shuffles the faults of a round; file damage stays in groups of two or three because each group costs a stop."""
    groups = [[kind] for kind in kinds if kind.damage is None]
    damages = [kind for kind in kinds if kind.damage is not None]
    rng.shuffle(damages)
    while damages:
        n = rng.randint(2, 3)
        groups.append(damages[:n])
        damages = damages[n:]
    rng.shuffle(groups)
    return [kind for group in groups for kind in group]
