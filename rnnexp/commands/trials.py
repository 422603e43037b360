"""`rnnexp trials`: list a study's trials."""

import argparse
import json

from rnnexp.home import Home
from rnnexp.storage.views import view
from rnnexp.terminal import tables
from rnnexp.trial.states import FINISHED

_MAX_ROWS = 100


def run(args: argparse.Namespace) -> int:
    """Prints one row per trial, by number; for a long study only the latest and the unfinished ones."""
    study = view(Home.at(args.home), args.study, with_runs=args.json)
    if args.json:
        print(json.dumps([study.plain(row) for row in study.trials], indent=1))
    else:
        console, latest = tables.console(), len(study.trials) - (len(study.trials) if args.all else _MAX_ROWS)
        rows = [row for place, row in enumerate(study.trials) if place >= latest or row.state not in FINISHED]
        console.print(tables.trials(study, rows, rank=False))
        if len(rows) < len(study.trials):
            n_hidden = len(study.trials) - len(rows)
            console.print(
                f"\nand {n_hidden:,} earlier ones: --all lists them, `rnnexp compare {study.name}` ranks the best"
            )
    return 0
