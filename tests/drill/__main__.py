"""The drill: breaks real sweeps by the hundred and says what survived.

python -m tests.drill --faults 110 --seed 0       about twenty minutes on two cores
python -m tests.drill --resume-check 20           twenty trials, killed and resumed: the same weights?
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tests.drill import doomed, resume
from tests.drill.faults import KINDS, Kind, Where
from tests.drill.rounds import MOST_TRIALS, Result, Round, deal, in_a_world, plan
from tests.drill.sweeps import STUDY, SWEEP, Sweep, World

_ROUND_SIZE = 13


class Drill:
    """The rounds of one seed, and their tally."""

    def __init__(self, root: Path, seed: int) -> None:
        self._root, self._seed = root, seed
        self._began = time.monotonic()
        self.times: Counter[str] = Counter()
        self.survived: Counter[str] = Counter()
        self.skipped: dict[str, str] = {}
        self.failed_rounds: list[int] = []
        self._n_rounds = 0

    def note(self, line: str) -> None:
        print(f"{time.monotonic() - self._began:6.0f} s  {line}", flush=True)

    def reference(self, n_trials: int = MOST_TRIALS) -> Sweep:
        """Runs the sweep undisturbed; every round is compared with it."""
        root = self._root / "undisturbed"
        root.mkdir(parents=True)
        sweep = Sweep(World(root, root / "home"), SWEEP, STUDY, "--trials", str(n_trials))
        sweep.start()
        try:
            code = sweep.wait(900)
        finally:
            sweep.end()
        if code != 0:
            raise RuntimeError(f"the undisturbed sweep fails with exit code {code}: {sweep.said[-2000:]}")
        self.note(f"undisturbed: {n_trials} trials")
        return sweep

    def run(self, faults: Sequence[Kind], reference: Sweep, most_trials: int = MOST_TRIALS) -> None:
        """Runs rounds until every fault has been brought about; no study gets more trials than the undisturbed one."""
        rng = random.Random(self._seed)
        n_doomed = max((faults.count(kind) for kind in doomed.all_kinds()), default=0)
        for _ in range(n_doomed):
            self._round(Where.DOOMED, doomed.all_kinds(), reference, lambda world, _: doomed.run(world))
        rounds = deal([kind for kind in faults if kind.where is not Where.DOOMED], _ROUND_SIZE, rng)
        while rounds:
            where, kinds = rounds.pop(0)
            left = self._round(
                where, kinds, reference, partial(_faults, kinds=kinds, reference=reference, most=most_trials)
            )
            if left and len(left) < len(kinds):
                rounds.append((next((kind.where for kind in left if kind.where is not Where.ANY), Where.ANY), left))
            else:
                self.skipped |= {kind.name: "the study was over too soon" for kind in left}

    def _round(
        self, where: Where, kinds: Sequence[Kind], reference: Sweep, act: Callable[[World, "Drill"], Result]
    ) -> list[Kind]:
        """Runs one round; returns the faults that did not get their turn."""
        number, self._n_rounds = self._n_rounds, self._n_rounds + 1
        root = self._root / f"round-{number}"
        self.note(f"round {number}: {len(kinds)} faults, {where}")
        try:
            result = in_a_world(root, where, reference, lambda world: self._kept(act(world, self), world, root))
        except PermissionError as error:
            self.skipped |= {
                kind.name: f"no disk may be mounted here ({error})" for kind in kinds if kind.where is where
            }
            return [kind for kind in kinds if kind.where is not where]
        for kind in result.done:
            self.times[kind.name] += 1
            self.survived[kind.name] += not result.complaints
        if result.complaints:
            self.failed_rounds.append(number)
            self.note(f"round {number} of seed {self._seed} did not survive; kept: {root}")
        else:
            shutil.rmtree(root)
        return result.left

    def rng(self) -> random.Random:
        """Returns the source of the present round's moments."""
        return random.Random(f"{self._seed} {self._n_rounds}")

    def _kept(self, result: Result, world: World, root: Path) -> Result:
        """A home on a disk of its own goes with the disk, unless it is needed."""
        if result.complaints and world.home.parent != root:
            shutil.copytree(world.home, root / "home")
        return result

    def table(self) -> str:
        """Returns the tally as text."""
        width = max(len(kind.name) for kind in KINDS)
        lines = [f"{'fault':<{width}}  times  survived"]
        for kind in KINDS:
            if self.times[kind.name]:
                lines.append(f"{kind.name:<{width}}  {self.times[kind.name]:>5}  {self.survived[kind.name]:>8}")
            elif kind.name in self.skipped:
                lines.append(f"{kind.name:<{width}}  skipped: {self.skipped[kind.name]}")
        lines.append(f"{'all':<{width}}  {self.times.total():>5}  {self.survived.total():>8}")
        return "\n".join(lines)


def _faults(world: World, drill: Drill, kinds: Sequence[Kind], reference: Sweep, most: int) -> Result:
    return Round(world, drill.rng(), drill.note, most).run(kinds, reference)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what was asked for; returns 1 where anything did not survive."""
    parser = argparse.ArgumentParser(prog="python -m tests.drill", description=__doc__)
    parser.add_argument("--faults", type=int, default=0, metavar="N", help="how many faults")
    parser.add_argument(
        "--resume-check", type=int, default=0, metavar="N", help="so many trials are killed and resumed"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="where moments and victims come from")
    args = parser.parse_args(argv)
    if sys.platform != "linux":
        print("the drill finds its victims in /proc, which only Linux has")
        return 0
    root = Path(tempfile.mkdtemp(prefix="rnnexp-drill-"))
    drill = Drill(root, args.seed)
    reference = drill.reference(max(MOST_TRIALS, args.resume_check))
    failed = False
    if args.resume_check:
        (root / "resume").mkdir()
        world = World(root / "resume", root / "resume" / "home")
        n_same = resume.run(world, args.resume_check, reference, random.Random(args.seed), drill.note)
        print(
            f"killed and resumed with the weights of an undisturbed run, bit for bit: {n_same} of {args.resume_check}"
        )
        failed = n_same != args.resume_check
    if args.faults:
        try:
            drill.run(plan(args.faults, random.Random(args.seed)), reference)
        except KeyboardInterrupt:
            drill.note("interrupted; so far:")
            failed = True
        print(drill.table())
    if failed or drill.failed_rounds:
        print(f"seed {args.seed}: rounds {drill.failed_rounds} did not survive; kept: {root}")
        return 1
    shutil.rmtree(root)
    return 0


if __name__ == "__main__":
    sys.exit(main())
