"""Runs the benchmarks, prints their tables and writes them as JSON: `python -m tests.benchmarks`."""

import argparse
import dataclasses
import importlib
import json
import platform
import sys
from pathlib import Path

from tests.benchmarks.harness import STATE, Options, Result, table

BENCHMARKS = ("rivals", "quality", "trial_cost", "scale", "peak", "startup", "ends")
"""In the order in which they run; each is a module with `run(options) -> Result`."""
ON_REQUEST = ("accuracy",)
"""Run only if `--only` names them: they need no idle machine, but hours."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=BENCHMARKS + ON_REQUEST,
        default=BENCHMARKS,
        metavar="NAME",
        help=f"{', '.join(BENCHMARKS)} (all of these by default); {', '.join(ON_REQUEST)}",
    )
    parser.add_argument("--state", type=Path, default=STATE, help="folder for results and recordings (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each timing is repeated (%(default)s)")
    parser.add_argument("--seeds", type=int, default=8, help="how many seeds `accuracy` compares (%(default)s)")
    parser.add_argument(
        "--quick", action="store_true", help="small inputs, to check that the benchmarks run; the figures mean nothing"
    )
    args = parser.parse_args()
    options = Options(args.state.absolute(), args.rounds, args.quick, args.seeds)
    options.state.mkdir(parents=True, exist_ok=True)
    n_missed = 0
    for name in args.only:
        result: Result = importlib.import_module(f"tests.benchmarks.{name}").run(options)
        print(f"\n## {result.title}\n\n{table(result.rows)}\n", flush=True)
        for line in (*result.targets, *result.notes):
            print(f"- {line}", flush=True)
        n_missed += sum(not target.met for target in result.targets)
        report = {"machine": f"{platform.platform()} {platform.processor()}", "quick": args.quick}
        report |= dataclasses.asdict(result)
        (options.state / f"{name}.json").write_text(json.dumps(report, indent=1, default=str))
    print(f"\n{n_missed} targets missed; the figures are in {options.state}")
    return 1 if n_missed else 0


if __name__ == "__main__":
    sys.exit(main())
