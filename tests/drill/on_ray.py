"""The drill on a Ray cluster of this machine: faults of the local drill, and of nodes, slots, networks and servers.

python -m tests.drill.on_ray --faults 48 --seed 0     about twenty-five minutes on two cores

Every round is compared with a sweep without faults on this machine: also trials that moved between nodes must end with
the same weights, bit for bit.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rnnexp.trial import events
from rnnexp.trial.events import AttemptEnded, Started
from tests.drill import check
from tests.drill.faults import FaultKind
from tests.drill.ray_faults import RAY_KINDS, RaySweep, Team, move, needs_network, needs_servers, running_servers
from tests.drill.rounds import MAX_TRIALS, Result, Round
from tests.drill.sweeps import EPOCHS, STUDY, SWEEP, Sandbox, Sweep, copy_cache

_ROUND_SIZE = 8


class RayRound(Round):
    """A round on the cluster: when the supervisor has ended, no trial may run on any node."""

    def _check_after_end(self) -> int:
        code = super()._check_after_end()
        sweep = self.sweep
        assert isinstance(sweep, RaySweep)
        deadline = time.monotonic() + 30
        while left := [one for one in sweep.trial_processes if one.pid not in self._stopped_processes()]:
            if time.monotonic() > deadline:
                self._add_problems(*(f"runs on a node without its supervisor: {process}" for process in left))
                break
            time.sleep(0.2)
        sweep.team.complete()
        return code


def plan(n_faults: int, rng: random.Random, *, can_cut: bool) -> list[list[FaultKind]]:
    """Returns the faults of each round: each kind once, the rest by weight. Every second round has the servers.

    Args:
        n_faults: how many.
        rng: selects them.
        can_cut: whether there is a node whose network can be cut.
    """
    kinds = [kind for kind in RAY_KINDS if can_cut or not needs_network(kind)]
    faults = kinds[:n_faults]
    faults += rng.choices(kinds, [kind.weight for kind in kinds], k=n_faults - len(faults))
    rng.shuffle(faults)
    with_servers = [kind for kind in faults if needs_servers(kind)]
    others = [kind for kind in faults if not needs_servers(kind)]
    n_rounds = max(2, -(-n_faults // _ROUND_SIZE))
    rounds: list[list[FaultKind]] = [[] for _ in range(n_rounds)]
    for place, kind in enumerate(with_servers):
        rounds[(2 * place + 1) % (n_rounds - n_rounds % 2)].append(kind)
    for kind in others:
        min(rounds, key=len).append(kind)
    for kinds in rounds:
        rng.shuffle(kinds)
    return rounds


class RayDrill:
    """The rounds of one seed."""

    def __init__(self, root: Path, seed: int) -> None:
        self._root, self._seed, self._start_time = root, seed, time.monotonic()
        self.n_injected: Counter[str] = Counter()
        self.n_survived: Counter[str] = Counter()
        self.n_moved = 0
        self.failed_rounds: list[int] = []

    def log(self, line: str) -> None:
        print(f"{time.monotonic() - self._start_time:6.0f} s  {line}", flush=True)

    def run_reference(self) -> Sweep:
        """Runs the sweep on this machine without faults."""
        root = self._root / "reference"
        root.mkdir(parents=True)
        sweep = Sweep(Sandbox(root, root / "home"), SWEEP, STUDY, "--trials", str(MAX_TRIALS))
        sweep.run_to_completion()
        sweep.kill_all()
        seen = sweep.view()
        sweep.view = lambda: seen  # type: ignore[method-assign]  # later rounds read another database
        self.log(f"reference sweep without faults: {MAX_TRIALS} trials")
        return sweep

    def run(self, rounds: Sequence[Sequence[FaultKind]], reference: Sweep, team: Team) -> None:
        for number, kinds in enumerate(rounds):
            root = self._root / f"round-{number}"
            root.mkdir()
            copy_cache(reference.sandbox.home, root / "home")
            os.environ.pop("RNNEXP_STORAGE", None)
            mlflow = None
            if number % 2:
                os.environ["RNNEXP_STORAGE"] = team.servers.postgres.new_database()
                mlflow = team.servers.mlflow
            self.log(f"round {number}: {len(kinds)} faults, {'PostgreSQL and S3' if number % 2 else 'SQLite'}")
            sweep = RaySweep(Sandbox(root, root / "home", mlflow=mlflow), team)
            round_ = RayRound(sweep, random.Random(f"{self._seed} {number}"), self.log, MAX_TRIALS)
            result = round_.run(kinds, reference)
            self.n_moved += 0 if result.problems else sum(_has_moved(sweep, row.number) for row in sweep.view().trials)
            self._count(number, result, root)
            team.complete()

    def run_moves(self, reference: Sweep, team: Team) -> None:
        """Moves each trial of a sweep to another slot once, after an epoch, and compares all with the reference."""
        root = self._root / "moves"
        root.mkdir()
        copy_cache(reference.sandbox.home, root / "home")
        sweep = RaySweep(Sandbox(root, root / "home"), team)
        sweep.arguments[-1] = str(MAX_TRIALS)
        moved: set[int] = set()
        sweep.start()
        while sweep.running:
            for process in sweep.trial_processes:
                assert process.trial is not None
                files = sweep.home.study(STUDY).trial(process.trial)
                if process.trial not in moved and events.epochs(events.read(files.events)) and move(process):
                    moved.add(process.trial)
            time.sleep(0.02)
        sweep.run_to_completion()
        self.n_moved = sum(_has_moved(sweep, row.number) for row in sweep.view().trials)
        problems = check.check_finished_study(sweep, MAX_TRIALS, EPOCHS) + check.check_same_as_reference(
            sweep, reference
        )
        for problem in problems:
            self.log(f"NOT SURVIVED: {problem}")
        if problems:
            self.failed_rounds.append(0)
        self.log(f"{self.n_moved} of {MAX_TRIALS} trials were moved after an epoch; {len(problems)} problems")

    def _count(self, number: int, result: Result, root: Path) -> None:
        for kind in result.done:
            self.n_injected[kind.name] += 1
            self.n_survived[kind.name] += not result.problems
        for kind in result.left:
            self.log(f"not injected, because the study ended too soon: {kind.name}")
        if result.problems:
            self.failed_rounds.append(number)
            self.log(f"round {number} of seed {self._seed} did not survive; its files are kept in {root}")
        else:
            shutil.rmtree(root)

    def table(self) -> str:
        """Returns the counts as text."""
        width = max(len(kind.name) for kind in RAY_KINDS)
        lines = [f"{'fault':<{width}}  times  survived"]
        lines += [
            f"{kind.name:<{width}}  {self.n_injected[kind.name]:>5}  {self.n_survived[kind.name]:>8}"
            for kind in RAY_KINDS
            if self.n_injected[kind.name]
        ]
        lines.append(f"{'all':<{width}}  {self.n_injected.total():>5}  {self.n_survived.total():>8}")
        lines.append(
            f"trials that lost their slot after an epoch, and ended elsewhere with the same bits: {self.n_moved}"
        )
        return "\n".join(lines)


def _has_moved(sweep: Sweep, number: int) -> bool:
    """Tells whether a trial has resumed after an epoch because its slot was lost."""
    history = events.read(sweep.home.study(STUDY).trial(number).events)
    return any(
        isinstance(event, AttemptEnded)
        and event.reason.endswith((" is lost", " has ended"))
        and any(isinstance(later, Started) and later.from_epoch for later in history[place:])
        for place, event in enumerate(history)
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the drill; returns 1 if a sweep did not survive."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.drill.on_ray", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faults", type=int, default=48, metavar="N", help="number of faults to inject (%(default)s)")
    parser.add_argument(
        "--moves", action="store_true", help="no faults: move each trial of one sweep to another slot, and compare"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed that selects faults, moments and trials")
    args = parser.parse_args(argv)
    if sys.platform != "linux":
        print("the drill needs /proc, which only Linux has; nothing was run")
        return 0
    root = Path(tempfile.mkdtemp(prefix="rnnexp-drill-"))
    drill = RayDrill(root, args.seed)
    reference = drill.run_reference()
    with running_servers(root / "servers") as servers:
        team = Team(root, servers)
        try:
            if args.moves:
                drill.run_moves(reference, team)
            else:
                rounds = plan(args.faults, random.Random(args.seed), can_cut=team.network is not None)
                drill.run(rounds, reference, team)
        finally:
            team.close()
    if not args.moves:
        print(drill.table())
    if drill.failed_rounds:
        print(f"seed {args.seed}: rounds that did not survive: {drill.failed_rounds}; files are kept in {root}")
        return 1
    shutil.rmtree(root)
    return 0


if __name__ == "__main__":
    sys.exit(main())
