"""`rnnexp stop`: stop a running study, or one of its trials, from another shell."""

import argparse
import os
import signal
import socket
import time
from collections.abc import Callable

from rnnexp import process_identity
from rnnexp.commands.show import find
from rnnexp.errors import StudyError, WorkError
from rnnexp.home import Home
from rnnexp.storage.study_lock import Owner, lock_owner
from rnnexp.storage.views import view
from rnnexp.trial.states import State

_TIMEOUT_S = 60
_HUNG_AFTER_S = 30
"""A supervisor that still runs so long after SIGTERM hangs: it needs at most 10 s to send its records to MLflow."""
_POLL_S = 0.2


def run(args: argparse.Namespace) -> int:
    """Requests the stop and waits until it has happened."""
    home = Home.at(args.home)
    study = view(home, args.study)
    owner = lock_owner(home, study.name)
    if owner is not None and study.origin is not None:
        raise StudyError(f"study {study.name} is run by {owner}, from {study.origin}; run `rnnexp stop` there")
    if owner is None:
        raise StudyError(f"study {study.name} is not running; there is nothing to stop")
    if args.trial is not None:
        return _stop_trial(home, study.name, args.trial)
    _check_identity(owner, study.name)
    _end(owner, home, study.name)
    done = view(home, study.name)
    print(
        f"study {study.name} stopped: {done.n_finished} of {done.n_trials} trials finished; "
        "run the same sweep or train command to resume"
    )
    return 0


def _check_identity(owner: Owner, study: str) -> None:
    """Checks that the owner's id is that of the same process here; another one must never get the signal."""
    if owner.host != socket.gethostname():
        raise StudyError(f"study {study} is run by {owner}; run `rnnexp stop {study}` on that machine")
    if owner.identity is None:
        raise StudyError(
            f"study {study} is run by {owner}, in an earlier version of rnnexp, which did not record enough to find it "
            "with certainty; end it with Ctrl-C where it was started"
        )
    if owner.identity != process_identity.identity(owner.pid):
        raise StudyError(
            f"study {study} is run by {owner}, which is not a process of this container; run `rnnexp stop {study}` in "
            "the container where it was started"
        )


def _end(owner: Owner, home: Home, study: str) -> None:
    """Sends SIGTERM to a supervisor, and kills it if it hangs. Its trials end themselves."""

    def gone() -> bool:
        return lock_owner(home, study) != owner

    try:
        os.kill(owner.pid, signal.SIGTERM)
        if _wait_until(gone, _HUNG_AFTER_S):
            return
        _check_identity(owner, study)
        print(f"{owner} does not react to SIGTERM and is killed", flush=True)
        os.kill(owner.pid, signal.SIGKILL)
    except PermissionError:
        raise StudyError(f"study {study} is run by {owner} of another user; ask them to stop it") from None
    except ProcessLookupError:
        pass  # it has just ended
    _wait_or_fail(gone, f"{owner} has not ended")


def _stop_trial(home: Home, name: str, number: int) -> int:
    row = find(view(home, name), number)
    if row.state is not State.RUNNING and not row.is_paused:
        raise StudyError(f"trial {number} of {name} is {row.state}; only a running or a paused one can be stopped")
    requests = home.study(name).stop_requests
    requests.mkdir(exist_ok=True)
    (requests / str(number)).touch()

    def has_ended() -> bool:
        now = find(view(home, name), number)
        return now.state is not State.RUNNING and not now.is_paused

    _wait_or_fail(has_ended, f"trial {number} has not ended")
    ended = find(view(home, name), number)
    print(f"trial {number} of {name} stopped: {ended.state}{f', {ended.value:.4f}' if ended.value is not None else ''}")
    return 0


def _wait_or_fail(condition: Callable[[], bool], problem: str) -> None:
    if not _wait_until(condition, _TIMEOUT_S):
        raise WorkError(f"{problem} after {_TIMEOUT_S} s")


def _wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Waits until the condition holds; returns whether it did in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True
