"""`rnnexp stop`: end a running study, or one of its trials, from another shell."""

import argparse
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

from rnnexp.commands.show import find
from rnnexp.errors import StudyError, WorkError
from rnnexp.home import Home
from rnnexp.storage.study_lock import Owner, lock_owner
from rnnexp.storage.views import view
from rnnexp.trial.states import State

_PATIENCE_S = 60
_HUNG_AFTER_S = 30
"""A supervisor that has not ended so long after SIGTERM hangs; it needs 10 s at most to send MLflow what it can."""
_STEP_S = 0.2


def run(args: argparse.Namespace) -> int:
    """Asks, and waits until it is so."""
    home = Home.at(args.home)
    study = view(home, args.study)
    owner = lock_owner(home.study(study.name).lock)
    if owner is None:
        raise StudyError(f"study {study.name} is not being run; there is nothing to stop")
    if args.trial is not None:
        return _stop_trial(home, study.name, args.trial)
    if owner.host != socket.gethostname():
        raise StudyError(f"study {study.name} is run by {owner}; type `rnnexp stop {study.name}` there")
    _end(owner, home.study(study.name).lock, study.name)
    done = view(home, study.name)
    print(
        f"study {study.name} stopped: {done.n_finished} of {done.n_trials} trials finished; "
        "the same sweep command goes on"
    )
    return 0


def _end(owner: Owner, lock: Path, study: str) -> None:
    """Ends a supervisor: asks first, and kills one that hangs. Its trials end themselves."""

    def gone() -> bool:
        return lock_owner(lock) != owner

    try:
        os.kill(owner.pid, signal.SIGTERM)
        if _wait(gone, _HUNG_AFTER_S):
            return
        print(f"{owner} does not answer; it is killed", flush=True)
        os.kill(owner.pid, signal.SIGKILL)
    except PermissionError:
        raise StudyError(f"study {study} is run by {owner}, another user's; ask them to stop it") from None
    except ProcessLookupError:
        pass  # it has just ended
    _until(gone, f"{owner} has not ended")


def _stop_trial(home: Home, name: str, number: int) -> int:
    row = find(view(home, name), number)
    if row.state is not State.RUNNING:
        raise StudyError(f"trial {number} of {name} is {row.state}; only a running one can be stopped")
    requests = home.study(name).stop_requests
    requests.mkdir(exist_ok=True)
    (requests / str(number)).touch()
    _until(lambda: find(view(home, name), number).state is not State.RUNNING, f"trial {number} has not ended")
    ended = find(view(home, name), number)
    print(f"trial {number} of {name} stopped: {ended.state}{f', {ended.value:.4f}' if ended.value is not None else ''}")
    return 0


def _until(true: Callable[[], bool], complaint: str) -> None:
    if not _wait(true, _PATIENCE_S):
        raise WorkError(f"{complaint} after {_PATIENCE_S} s")


def _wait(true: Callable[[], bool], patience_s: float) -> bool:
    """Waits until it is true; tells whether it has become so."""
    deadline = time.monotonic() + patience_s
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(_STEP_S)
    return True
