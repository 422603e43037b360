"""`rnnexp logs`: print a trial's log, once or continuously."""

import argparse
import codecs
import sys
import time

from rnnexp.commands.show import find
from rnnexp.errors import StudyError
from rnnexp.home import Home
from rnnexp.storage.study_lock import lock_owner
from rnnexp.storage.views import view
from rnnexp.terminal.escapes import visible_lines
from rnnexp.trial.states import FINISHED

_POLL_S = 0.3


def run(args: argparse.Namespace) -> int:
    """Prints the log; with `--follow` it continues until the trial has ended."""
    home = Home.at(args.home)
    study = view(home, args.study)
    row = find(study, args.trial)
    if study.origin is not None:
        from rnnexp.tracking.fetch import fetch

        study = fetch(home, study, [row.number])
    path = study.folder.trial(row.number).log
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    if not path.exists() and not args.follow:
        raise StudyError(f"trial {row.number} of {study.name} is {row.state} and has no log yet")
    shown = 0
    while True:
        ended = find(view(home, args.study), args.trial).state in FINISHED or lock_owner(home, study.name) is None
        if path.exists():
            with path.open("rb") as file:
                file.seek(shown)
                new = file.read()
            shown += len(new)
            sys.stdout.write(visible_lines(decoder.decode(new)))
            sys.stdout.flush()
        if ended or not args.follow:
            return 0
        time.sleep(_POLL_S)
