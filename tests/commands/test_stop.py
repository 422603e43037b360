"""`stop` sends a signal only to the process that holds the study's lock."""

import argparse
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rnnexp import process_identity
from rnnexp.commands import stop
from rnnexp.errors import StudyError
from rnnexp.home import Home
from rnnexp.storage.study_lock import Owner, hold_study_lock, lock_owner
from tests.study.fakes import FakeExecutor
from tests.study.small_study import Study


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


@pytest.fixture
def stranger() -> Iterator["subprocess.Popen[bytes]"]:
    """A process of the user that has nothing to do with the study."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def _stop(home: Home) -> None:
    stop.run(argparse.Namespace(home=str(home.root), study="s", trial=None))


def _write_owner(lock: Path, **changes: Any) -> None:
    values = {**json.loads(lock.read_text()), **changes}
    lock.write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"namespace": "pid:[1]"}, "which is not a process of this container"),
        ({"boot": "another start"}, "which is not a process of this container"),
        ({"started": "1"}, "which is not a process of this container"),
        ({"host": "elsewhere"}, "on that machine"),
    ],
)
def test_a_process_that_only_has_the_same_id_gets_no_signal(
    study: Study, stranger: "subprocess.Popen[bytes]", changes: dict[str, str], message: str
) -> None:
    """The supervisor runs in another container on this volume; its id belongs to a stranger here."""
    study.run(FakeExecutor())
    home = study.home
    identity = process_identity.identity(stranger.pid)
    assert identity is not None
    with hold_study_lock(home, "s"):
        _write_owner(home.study("s").lock, pid=stranger.pid, **{**dataclasses.asdict(identity), **changes})
        with pytest.raises(StudyError, match=message) as raised:
            _stop(home)
        assert "\n" not in str(raised.value)
        assert stranger.poll() is None


def test_the_owner_of_an_earlier_version_gets_no_signal(study: Study, stranger: "subprocess.Popen[bytes]") -> None:
    study.run(FakeExecutor())
    with hold_study_lock(study.home, "s"):
        study.home.study("s").lock.write_text(
            json.dumps({"pid": stranger.pid, "host": socket.gethostname(), "since": 1.0})
        )
        with pytest.raises(StudyError, match="earlier version"):
            _stop(study.home)
        assert stranger.poll() is None


_HOLD = """
import sys
from rnnexp.home import Home
from rnnexp.storage.study_lock import hold_study_lock
with hold_study_lock(Home.at(sys.argv[1]), "s"):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_the_owner_gets_the_signal(study: Study) -> None:
    study.run(FakeExecutor())
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(study.home.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        _stop(study.home)
        assert holder.wait(10) == -signal.SIGTERM
    assert lock_owner(study.home, "s") is None


def test_an_identity_is_stable_and_belongs_to_one_process(stranger: "subprocess.Popen[bytes]") -> None:
    mine = process_identity.identity(os.getpid())
    assert mine == process_identity.identity(os.getpid())
    assert mine != process_identity.identity(stranger.pid)
    stranger.kill()
    stranger.wait()
    assert process_identity.identity(stranger.pid) is None
    owner = Owner.this_process()
    assert owner.identity == mine
