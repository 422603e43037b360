"""`python -m tests.benchmarks`: runs the benchmarks, prints their tables, writes them as JSON."""

import argparse
import dataclasses
import importlib
import json
import platform
import sys
from pathlib import Path

from tests.benchmarks.frame import STATE, Options, Result, table

BENCHMARKS = ("rivals", "quality", "trial_cost", "scale", "peak", "startup")
"""In the order of the issue; each is a module with `run(options) -> Result`."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=BENCHMARKS, metavar="NAME")
    parser.add_argument("--state", type=Path, default=STATE, help="where results and recordings stay")
    parser.add_argument("--rounds", type=int, default=3, help="timings of each, taken in turn")
    parser.add_argument("--quick", action="store_true", help="small, to see whether it runs; the figures mean nothing")
    args = parser.parse_args()
    options = Options(args.state.absolute(), args.rounds, args.quick)
    options.state.mkdir(parents=True, exist_ok=True)
    missed = 0
    for name in args.only:
        result: Result = importlib.import_module(f"tests.benchmarks.{name}").run(options)
        print(f"\n## {result.title}\n\n{table(result.rows)}\n", flush=True)
        for line in (*result.targets, *result.notes):
            print(f"- {line}", flush=True)
        missed += sum(not target.met for target in result.targets)
        found = {"machine": f"{platform.platform()} {platform.processor()}", "quick": args.quick}
        found |= dataclasses.asdict(result)
        (options.state / f"{name}.json").write_text(json.dumps(found, indent=1, default=str))
    print(f"\n{missed} targets missed; figures in {options.state}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
