"""`rnnexp trials`: list a study's trials."""

import argparse
import dataclasses
import json

from rnnexp.home import Home
from rnnexp.storage.views import view
from rnnexp.terminal import tables
from rnnexp.trial.states import FINISHED

_MOST_ROWS = 100


def run(args: argparse.Namespace) -> int:
    """Prints a row a trial, by number; of a long study the latest and those that have not ended."""
    study = view(Home.at(args.home), args.study, with_runs=args.json)
    if args.json:
        print(json.dumps([dataclasses.asdict(row) for row in study.trials], indent=1))
    else:
        console, latest = tables.console(), len(study.trials) - (len(study.trials) if args.all else _MOST_ROWS)
        rows = [row for place, row in enumerate(study.trials) if place >= latest or row.state not in FINISHED]
        console.print(tables.trials(study, rows, rank=False))
        if len(rows) < len(study.trials):
            left = len(study.trials) - len(rows)
            console.print(f"\nand {left:,} earlier ones: --all lists them, `rnnexp compare {study.name}` the best")
    return 0
