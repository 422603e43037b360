"""The drill injects faults into real sweeps and reports which of them the sweeps survived.

python -m tests.drill --faults 120 --seed 0     about twenty-five minutes on two cores
python -m tests.drill --faults 120 --seed 0 --rounds 13     one round of it again
python -m tests.drill --resume-check 20         kills and resumes twenty trials, then compares their weights
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path

from tests.drill import failing, neighbours, resume
from tests.drill.faults import KINDS, FaultKind, RoundType
from tests.drill.rounds import FIRST_TRIALS, MAX_TRIALS, Result, Round, plan_faults, run_in_sandbox, split_into_rounds
from tests.drill.sweeps import STUDY, SWEEP, Sandbox, Sweep

_ROUND_SIZE = 13
_OWN_ROUNDS = {
    RoundType.FAILING: failing.run,
    RoundType.TWO_HOMES: neighbours.run_two_homes,
    RoundType.RETENTION: neighbours.run_export_beside_retention,
}
"""Rounds that need a sweep of their own."""


class Drill:
    """The rounds of one seed, and their counts."""

    def __init__(self, root: Path, seed: int, only: Collection[int] = ()) -> None:
        """Args:
        root: the folder of all files.
        seed: selects faults, moments and trials.
        only: the numbers of the rounds to run, with the rounds that continue them; all if it is empty.
        """
        self._root, self._seed, self._only = root, seed, set(only)
        self._start_time = time.monotonic()
        self.n_injected: Counter[str] = Counter()
        self.n_survived: Counter[str] = Counter()
        self.skipped: dict[str, str] = {}
        self.failed_rounds: list[int] = []
        self._n_rounds = 0

    def log(self, line: str) -> None:
        print(f"{time.monotonic() - self._start_time:6.0f} s  {line}", flush=True)

    def run_reference(self, n_trials: int = MAX_TRIALS) -> Sweep:
        """Runs the sweep without faults; every round is compared with it."""
        root = self._root / "reference"
        root.mkdir(parents=True)
        sweep = Sweep(Sandbox(root, root / "home"), SWEEP, STUDY, "--trials", str(n_trials))
        sweep.start()
        try:
            code = sweep.wait(900)
        finally:
            sweep.kill_all()
        if code != 0:
            raise RuntimeError(f"the reference sweep fails with exit code {code}: {sweep.last_output[-2000:]}")
        self.log(f"reference sweep without faults: {n_trials} trials")
        return sweep

    def run(self, faults: Sequence[FaultKind], reference: Sweep, max_trials: int = MAX_TRIALS) -> None:
        """Runs rounds until every fault was injected or skipped; no study gets more trials than the reference."""
        rng = random.Random(self._seed)
        for round_type, run in _OWN_ROUNDS.items():
            kinds = [kind for kind in KINDS if kind.round_type is round_type]
            for _ in range(max(faults.count(kind) for kind in kinds)):
                self._round(round_type, kinds, reference, partial(_own_round, run=run))
        others = [kind for kind in faults if kind.round_type not in _OWN_ROUNDS]
        rounds = split_into_rounds(others, _ROUND_SIZE, rng)
        while rounds:
            number = self._n_rounds
            round_type, kinds = rounds.pop(0)
            left = self._round(
                round_type, kinds, reference, partial(_faults, kinds=kinds, reference=reference, max_trials=max_trials)
            )
            if left and len(left) < len(kinds):
                special = (kind.round_type for kind in left if kind.round_type is not RoundType.ANY)
                if number in self._only:
                    self._only.add(self._n_rounds + len(rounds))  # the number of the round that is appended
                rounds.append((next(special, RoundType.ANY), left))
            else:
                self.skipped |= {kind.name: "the study ended too soon" for kind in left}

    def _round(
        self,
        round_type: RoundType,
        kinds: Sequence[FaultKind],
        reference: Sweep,
        action: Callable[[Sandbox, "Drill"], Result],
    ) -> list[FaultKind]:
        """Runs one round; returns the faults that were not injected."""
        number, self._n_rounds = self._n_rounds, self._n_rounds + 1
        if self._only and number not in self._only:
            return []
        root = self._root / f"round-{number}"
        self.log(f"round {number}: {len(kinds)} faults, {round_type}")

        def run(sandbox: Sandbox) -> Result:
            result = action(sandbox, self)
            if result.problems and sandbox.home.parent != root:
                shutil.copytree(sandbox.home, root / "home")  # the small disk is unmounted after the round
            return result

        try:
            result = run_in_sandbox(root, round_type, reference, run)
        except PermissionError as error:
            self.skipped |= {
                kind.name: f"mounting a disk is not permitted here ({error})"
                for kind in kinds
                if kind.round_type is round_type
            }
            return [kind for kind in kinds if kind.round_type is not round_type]
        for kind in result.done:
            self.n_injected[kind.name] += 1
            self.n_survived[kind.name] += not result.problems
        if result.problems:
            self.failed_rounds.append(number)
            self.log(f"round {number} of seed {self._seed} did not survive; its files are kept in {root}")
        else:
            shutil.rmtree(root)
        return result.left

    def round_rng(self) -> random.Random:
        """Returns the random generator of the current round."""
        return random.Random(f"{self._seed} {self._n_rounds}")

    def table(self) -> str:
        """Returns the counts as text."""
        width = max(len(kind.name) for kind in KINDS)
        lines = [f"{'fault':<{width}}  times  survived"]
        for kind in KINDS:
            if self.n_injected[kind.name]:
                lines.append(f"{kind.name:<{width}}  {self.n_injected[kind.name]:>5}  {self.n_survived[kind.name]:>8}")
            elif kind.name in self.skipped:
                lines.append(f"{kind.name:<{width}}  skipped: {self.skipped[kind.name]}")
        lines.append(f"{'all':<{width}}  {self.n_injected.total():>5}  {self.n_survived.total():>8}")
        return "\n".join(lines)


def _faults(sandbox: Sandbox, drill: Drill, kinds: Sequence[FaultKind], reference: Sweep, max_trials: int) -> Result:
    sweep = Sweep(sandbox, SWEEP, STUDY, "--trials", str(FIRST_TRIALS))
    return Round(sweep, drill.round_rng(), drill.log, max_trials).run(kinds, reference)


def _own_round(sandbox: Sandbox, drill: Drill, run: Callable[[Sandbox], Result]) -> Result:
    result = run(sandbox)
    for problem in result.problems:
        drill.log(f"NOT SURVIVED: {problem}")
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the drill; returns 1 if a sweep did not survive."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.drill", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faults", type=int, default=0, metavar="N", help="number of faults to inject")
    parser.add_argument("--resume-check", type=int, default=0, metavar="N", help="number of trials to kill and resume")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed that selects faults, moments and trials")
    parser.add_argument("--rounds", type=int, nargs="+", default=(), metavar="R", help="run only these rounds again")
    args = parser.parse_args(argv)
    if sys.platform != "linux":
        print("the drill needs /proc, which only Linux has; nothing was run")
        return 0
    root = Path(tempfile.mkdtemp(prefix="rnnexp-drill-"))
    drill = Drill(root, args.seed, args.rounds)
    reference = drill.run_reference(max(MAX_TRIALS, args.resume_check))
    failed = False
    if args.resume_check:
        (root / "resume").mkdir()
        sandbox = Sandbox(root / "resume", root / "resume" / "home")
        n_equal = resume.run(sandbox, args.resume_check, reference, random.Random(args.seed), drill.log)
        print(
            "killed and resumed trials whose weights equal the reference run's, bit for bit: "
            f"{n_equal} of {args.resume_check}"
        )
        failed = n_equal != args.resume_check
    if args.faults:
        try:
            drill.run(plan_faults(args.faults, random.Random(args.seed)), reference)
        except KeyboardInterrupt:
            drill.log("interrupted; results so far:")
            failed = True
        print(drill.table())
    if failed or drill.failed_rounds:
        print(f"seed {args.seed}: rounds that did not survive: {drill.failed_rounds}; files are kept in {root}")
        return 1
    shutil.rmtree(root)
    return 0


if __name__ == "__main__":
    sys.exit(main())
