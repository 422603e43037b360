"""`rnnexp delete`: a study, its runs, its files."""

import argparse
import sys

from rnnexp.errors import StudyError, UserError
from rnnexp.home import Home
from rnnexp.storage.views import view
from rnnexp.study import deletion


def run(args: argparse.Namespace) -> int:
    """Deletes for good, after asking."""
    home = Home.at(args.home)
    study = view(home, args.study)
    if study.owner is not None:
        raise StudyError(f"study {study.name} is being run, by {study.owner}; end it first: rnnexp stop {study.name}")
    if not args.yes:
        if not sys.stdin.isatty():
            raise UserError(
                f"delete {study.name}: nobody to ask; add --yes to delete its {len(study.trials)} trials for good"
            )
        answer = input(
            f"delete study {study.name}, its {len(study.trials)} trials, runs and checkpoints for good? [y/N] "
        )
        if answer.strip().lower() not in ("y", "yes"):
            print("nothing was deleted")
            return 0
    deletion.delete(home, study.name)
    print(f"study {study.name} is deleted")
    return 0
