"""`python -m tests.simulation`: many simulated sweeps, or one with its trace."""

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
    """Returns 1 where an invariant was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--sweeps", type=int, default=10_000, help="how many, of the seeds from --seed on")
    parser.add_argument("--seed", type=int, help="the first seed; with --trace, the one to show")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--trace", action="store_true", help="show what happens in one sweep")
    parser.add_argument("--planted", action="store_true", help="whether bugs put into the code are found")
    args = parser.parse_args()
    if args.planted:
        return _planted()
    if args.trace:
        return _trace(args.seed or 0)
    return _many(args.seed or 0, args.sweeps, args.workers)


def _trace(seed: int) -> int:
    result = simulate(seed, tracing=True)
    print("\n".join(result.trace))
    return 1 if result.violation else 0


def _planted(most: int = 500) -> int:
    missed = 0
    for planted in BUGS:
        found = find(planted, most)
        missed += found.n_seeds is None
        after = f"{found.n_seeds:>4} seeds" if found.n_seeds else "NOT FOUND"
        print(f"{planted.change.module:<11} {planted.bug:<56} {after}  {found.violation[:100]}", flush=True)
    return 1 if missed else 0


def _many(first: int, n_sweeps: int, workers: int) -> int:
    began, kinds, violated = time.monotonic(), Counter[str](), list[Result]()
    generations, seconds = 0, 0.0
    with multiprocessing.Pool(workers) as pool:
        for done, result in enumerate(pool.imap_unordered(simulate, range(first, first + n_sweeps), chunksize=8), 1):
            kinds += result.injected
            generations += result.generations
            seconds += result.seconds
            if result.violation:
                violated.append(result)
                print(f"seed {result.seed}: {result.violation}", flush=True)
            if done % 1000 == 0:
                print(f"{done} sweeps, {len(violated)} violations, {time.monotonic() - began:.0f} s", flush=True)
    for kind in [*KINDS, *(kind for kind in kinds if kind not in KINDS)]:
        print(f"{kind:<28} {kinds[kind]:>8}")
    print(
        f"{n_sweeps} sweeps, {kinds.total()} faults, {generations} supervisors, {seconds / 86400:.1f} virtual days, "
        f"{len(violated)} violations, {time.monotonic() - began:.0f} s"
    )
    if violated:
        seeds = sorted(result.seed for result in violated)[:10]
        print(f"violated by the seeds {seeds}; `python -m tests.simulation --seed {seeds[0]} --trace` shows one")
    return 1 if violated else 0


if __name__ == "__main__":
    sys.exit(main())
