"""`rnnexp trials`: list a study's trials."""

import argparse
import dataclasses
import json

from rnnexp.home import Home
from rnnexp.study.reading import view
from rnnexp.terminal import tables


def run(args: argparse.Namespace) -> int:
    """Prints a row a trial, by number."""
    study = view(Home.at(args.home), args.study)
    if args.json:
        print(json.dumps([dataclasses.asdict(row) for row in study.trials], indent=1))
    else:
        tables.console().print(tables.trials(study, study.trials, rank=False))
    return 0
