"""`python -m tests.simulation`: simulates many sweeps, or one with its trace."""

import argparse
import multiprocessing
import os
import sys
import time
from collections import Counter

from tests.simulation.plan import KINDS
from tests.simulation.planted import BUGS, find
from tests.simulation.sweep import Result, simulate


def main() -> int:
    """Returns 1 if an invariant was violated, or if a planted bug was not found."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--sweeps", type=int, default=10_000, help="number of sweeps; their seeds start at --seed")
    parser.add_argument("--seed", type=int, help="the first seed; with --trace, the only one")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--trace", action="store_true", help="print each step of one sweep")
    parser.add_argument("--planted", action="store_true", help="check that the bugs planted into the code are found")
    args = parser.parse_args()
    if args.planted:
        return _find_planted_bugs()
    if args.trace:
        return _trace(args.seed or 0)
    return _simulate_many(args.seed or 0, args.sweeps, args.workers)


def _trace(seed: int) -> int:
    result = simulate(seed, tracing=True)
    print("\n".join(result.trace))
    return 1 if result.violation else 0


def _find_planted_bugs(max_seeds: int = 500) -> int:
    n_missed = 0
    for planted in BUGS:
        try:
            found = find(planted, max_seeds)
        except ValueError as error:
            n_missed += 1
            print(error, flush=True)
            continue
        n_missed += found.n_seeds is None
        result = f"{found.n_seeds:>4} seeds" if found.n_seeds else "NOT FOUND"
        print(f"{planted.change.module:<11} {planted.bug:<56} {result}  {found.violation[:100]}", flush=True)
    print(f"{len(BUGS) - n_missed} of {len(BUGS)} planted bugs found")
    return 1 if n_missed else 0


def _simulate_many(first_seed: int, n_sweeps: int, workers: int) -> int:
    started, injected, violated = time.monotonic(), Counter[str](), list[Result]()
    generations, seconds = 0, 0.0
    seeds = range(first_seed, first_seed + n_sweeps)
    with multiprocessing.Pool(workers) as pool:
        for n_done, result in enumerate(pool.imap_unordered(simulate, seeds, chunksize=8), 1):
            injected += result.injected
            generations += result.generations
            seconds += result.seconds
            if result.violation:
                violated.append(result)
                print(f"seed {result.seed}: {result.violation}", flush=True)
            if n_done % 1000 == 0:
                print(f"{n_done} sweeps, {len(violated)} violations, {time.monotonic() - started:.0f} s", flush=True)
    for kind in [*KINDS, *(kind for kind in injected if kind not in KINDS)]:
        print(f"{kind:<28} {injected[kind]:>8}")
    print(
        f"{n_sweeps} sweeps, {injected.total()} faults, {generations} supervisors, "
        f"{seconds / 86400:.1f} virtual days, {len(violated)} violations, {time.monotonic() - started:.0f} s"
    )
    if violated:
        failed_seeds = sorted(result.seed for result in violated)[:10]
        print(
            f"invariants are violated with the seeds {failed_seeds}; "
            f"`python -m tests.simulation --seed {failed_seeds[0]} --trace` prints each step"
        )
    return 1 if violated else 0


if __name__ == "__main__":
    sys.exit(main())
