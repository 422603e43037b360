"""`rnnexp delete`: delete a study, its runs and its files."""

import argparse
import re
import sys

from rnnexp.config.names import STUDY_NAME
from rnnexp.errors import StudyError, UserError
from rnnexp.home import Home
from rnnexp.storage import bulk_reader, metadata
from rnnexp.storage.study_lock import lock_owner
from rnnexp.study import deletion
from rnnexp.tracking.experiments import DeletedRecords


def run(args: argparse.Namespace) -> int:
    """Deletes a study permanently, after a confirmation."""
    home = Home.at(args.home)
    if home.tracking_note:
        print(home.tracking_note, file=sys.stderr)
    name, n_trials = args.study, _n_trials(home, args.study)
    if name in bulk_reader.study_names(home):
        other = metadata.other_home(home, bulk_reader.load_study(home, name))
        if other is not None:
            raise StudyError(f"study {name}: its trials are in {other}; delete it from there")
    owner = lock_owner(home, name)
    if owner is not None:
        raise StudyError(f"study {name} is running ({owner}); stop it first: rnnexp stop {name}")
    if not args.yes:
        if not sys.stdin.isatty():
            raise UserError(
                f"delete {name}: cannot ask for confirmation without a terminal; add --yes to delete it and "
                f"its {n_trials} trials permanently"
            )
        answer = input(f"Delete study {name} permanently, with its {n_trials} trials, runs and checkpoints? [y/N] ")
        if answer.strip().lower() not in ("y", "yes"):
            print("nothing was deleted")
            return 0
    _report(name, deletion.delete(home, name))
    return 0


def _n_trials(home: Home, name: str) -> int:
    """Returns how many trials a study has; it may have only a folder, if Optuna's database was lost.

    Raises:
        StudyError: if there is no study of that name.
    """
    if name not in bulk_reader.study_names(home) and re.fullmatch(STUDY_NAME, name):
        folder = home.study(name)
        if folder.sweep.exists() or folder.deleted.exists():
            return len(folder.numbers())
    bulk_reader.load_study(home, name)
    return len(bulk_reader.read(home, name, with_reports=False))


def _report(name: str, records: DeletedRecords) -> None:
    print(f"deleted study {name}")
    if records.n_others:
        print(f"MLflow's experiment {name} stays: it has {records.n_others} runs or models of other homes or programs")
    if records.n_other_versions:
        print(f"MLflow's registered model {name} stays: it has {records.n_other_versions} versions of others")
