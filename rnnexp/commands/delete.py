"""`rnnexp delete`: delete a study, its runs and its files."""

import argparse
import sys

from rnnexp.errors import StudyError, UserError
from rnnexp.home import Home
from rnnexp.storage.views import view
from rnnexp.study import deletion


def run(args: argparse.Namespace) -> int:
    """Deletes a study permanently, after a confirmation."""
    home = Home.at(args.home)
    study = view(home, args.study)
    if study.owner is not None:
        raise StudyError(f"study {study.name} is running ({study.owner}); stop it first: rnnexp stop {study.name}")
    if not args.yes:
        if not sys.stdin.isatty():
            raise UserError(
                f"delete {study.name}: cannot ask for confirmation without a terminal; add --yes to delete it and "
                f"its {len(study.trials)} trials permanently"
            )
        answer = input(
            f"Delete study {study.name} permanently, with its {len(study.trials)} trials, runs and checkpoints? [y/N] "
        )
        if answer.strip().lower() not in ("y", "yes"):
            print("nothing was deleted")
            return 0
    deletion.delete(home, study.name)
    print(f"deleted study {study.name}")
    return 0
