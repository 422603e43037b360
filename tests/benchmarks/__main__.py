"""Runs the benchmarks, prints their tables and writes them as JSON: `python -m tests.benchmarks`.

All of them take at most an hour on two cores. An interrupted run of all is continued by the same command.
"""

import argparse
import dataclasses
import importlib
import json
import sys
import time
from pathlib import Path

from tests.benchmarks import machine
from tests.benchmarks.budget import MINUTES
from tests.benchmarks.harness import STATE, Options, Result, UnavailableError, program_digest, table
from tests.benchmarks.rivals.names import SHORT
from tests.benchmarks.whole_run import Done, Progress, summary

BENCHMARKS = tuple(MINUTES)
"""In the order in which they run; each is a module with `run(options) -> Result`."""
ON_REQUEST = ("accuracy", "certainty", "serving")
"""Run only if `--only` names them; `serving` needs an idle machine, the others time nothing."""


def main() -> int:
    args = parse_arguments()
    options = Options(args.state.absolute(), args.rounds, args.quick, args.seeds, tuple(args.contestants))
    options.state.mkdir(parents=True, exist_ok=True)
    key = {
        "rounds": options.rounds,
        "contestants": list(options.contestants),
        "program": program_digest(),
        "machine": machine.name(),
    }
    progress = Progress(None, key) if args.only else Progress.open(options, key)
    for name in args.only or BENCHMARKS:
        done = progress.find(name)
        if done:
            print(f"{done.text}\n- of an earlier start of this run", flush=True)
            continue
        done = run_one(name, options, progress)
        print(done.text, flush=True)
        progress.add(done)
    text = summary(progress.done, options.rounds)
    print(f"\n{text}\n\nThe figures are in {options.state}.")
    if not args.only:
        heading = f"# Benchmarks\n\n{key['machine']}; program {key['program']}; {time.strftime('%Y-%m-%d %H:%M')}\n"
        parts = "".join([heading, *(one.text for one in progress.done), "\n", text, "\n"])
        options.stored("report", ".md").write_text(parts)
    progress.finish()
    return 1 if any(one.n_missed for one in progress.done) else 0


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Returns the options from the command line, or from these arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=BENCHMARKS + ON_REQUEST,
        default=[],
        metavar="NAME",
        help=f"{', '.join(BENCHMARKS)} (all of these by default); {', '.join(ON_REQUEST)}",
    )
    parser.add_argument("--state", type=Path, default=STATE, help="folder for results and recordings (%(default)s)")
    parser.add_argument(
        "--rounds",
        type=int,
        default=1,
        help="how often each timing is repeated (%(default)s); the time limits grow with it",
    )
    parser.add_argument("--seeds", type=int, default=8, help="how many seeds `accuracy` compares (%(default)s)")
    parser.add_argument(
        "--contestants",
        nargs="+",
        choices=tuple(SHORT),
        default=[],
        metavar="NAME",
        help=f"contestants of `rivals` or `accuracy` (all of them by default): {', '.join(SHORT)}",
    )
    parser.add_argument(
        "--quick", action="store_true", help="small inputs, to check that the benchmarks run; the figures mean nothing"
    )
    args = parser.parse_args(arguments)
    if args.rounds < 1:
        parser.error(f"--rounds: got {args.rounds}, expected 1 or more")
    return args


def run_one(name: str, options: Options, progress: Progress) -> Done:
    """Runs a benchmark within its share of time, and writes its figures to NAME.json."""
    module = importlib.import_module(f"tests.benchmarks.{name}")
    error, result = "", None
    with progress.timed(name, options.rounds) as share:
        try:
            result = module.run(dataclasses.replace(options, share=share))
        except UnavailableError as reason:
            error = str(reason)
    seconds = progress.spent[name]
    lines = [f"took {seconds / 60:.1f} minutes"]
    if error:
        return Done(name, seconds, (), f"\n## {name}\n\n- not run: {error}\n- {lines[0]}\n", error)
    assert isinstance(result, Result)
    text = f"\n## {result.title}\n\n{table(result.rows)}\n\n"
    text += "".join(f"- {line}\n" for line in (*result.targets, *result.notes, *lines))
    report = {"machine": machine.describe(), "quick": options.quick, "seconds": seconds, "rounds": options.rounds}
    report |= dataclasses.asdict(result)
    (options.state / f"{name}.json").write_text(json.dumps(report, indent=1, default=str))
    return Done(name, seconds, tuple(result.targets), text)


if __name__ == "__main__":
    sys.exit(main())
