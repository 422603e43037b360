"""`rnnexp logs`: a trial's log, once or as it grows."""

import argparse
import sys
import time

from rnnexp.commands.show import find
from rnnexp.errors import StudyError
from rnnexp.home import Home
from rnnexp.study.reading import view
from rnnexp.study.states import State

_STEP_S = 0.3


def run(args: argparse.Namespace) -> int:
    """Prints the log; with `--follow` until the trial has ended."""
    home = Home.at(args.home)
    study = view(home, args.study)
    row = find(study, args.trial)
    path = home.study(study.name).trial(row.number).log
    if not path.exists() and not args.follow:
        raise StudyError(f"trial {row.number} of {study.name} is {row.state} and has no log yet")
    shown = 0
    while True:
        ended = find(view(home, args.study), args.trial).state is not State.RUNNING
        if path.exists():
            with path.open("rb") as file:
                file.seek(shown)
                new = file.read()
            shown += len(new)
            sys.stdout.write(new.decode("utf-8", errors="replace"))
            sys.stdout.flush()
        if ended or not args.follow:
            return 0
        time.sleep(_STEP_S)
