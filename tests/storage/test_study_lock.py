"""The lock of a study, held and tried by several processes."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rnnexp.errors import StudyError
from rnnexp.storage.study_lock import hold_study_lock, lock_owner

pytestmark = pytest.mark.integration  # starts processes

_HOLD = """
import sys
from pathlib import Path
from rnnexp.storage.study_lock import hold_study_lock
with hold_study_lock(Path(sys.argv[1]), "cells"):
    print("held", flush=True)
    sys.stdin.readline()
"""
_TRY = """
import sys
from pathlib import Path
from rnnexp.errors import StudyError
from rnnexp.storage.study_lock import hold_study_lock
try:
    with hold_study_lock(Path(sys.argv[1]), "cells"):
        print("held")
except StudyError as error:
    print(error)
"""

_READ_OWNER = """
import sys
from pathlib import Path
from rnnexp.storage.study_lock import lock_owner
print("reading", flush=True)
while True:
    lock_owner(Path(sys.argv[1]))
"""


def _start(code: str, lock: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", code, str(lock)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@contextmanager
def _holder(lock: Path) -> "Iterator[subprocess.Popen[str]]":
    with _start(_HOLD, lock) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "work" / "cells" / "lock"


def test_a_second_process_is_refused_and_gets_the_owner(lock: Path) -> None:
    with hold_study_lock(lock, "cells"), _start(_TRY, lock) as second:
        output = second.communicate(timeout=30)[0]
    assert output.startswith(
        f"study cells is being run already, by process {os.getpid()} on {socket.gethostname()} since 20"
    )
    assert "rnnexp stop cells" in output
    with _start(_TRY, lock) as third:
        assert third.communicate(timeout=30)[0] == "held\n"


def test_another_process_can_read_the_owner(lock: Path) -> None:
    assert lock_owner(lock) is None
    with _holder(lock) as process:
        owner = lock_owner(lock)
        assert owner is not None
        assert (owner.pid, owner.host) == (process.pid, socket.gethostname())
        assert abs(owner.since - time.time()) < 60
        with pytest.raises(StudyError, match=f"by process {process.pid} on"), hold_study_lock(lock, "cells"):
            pass
        assert lock_owner(lock) == owner, "reading the owner and a refused attempt leave the lock as it is"
        process.communicate("end\n", timeout=30)
    assert lock_owner(lock) is None


def test_the_lock_of_a_killed_process_is_free(lock: Path) -> None:
    with _holder(lock) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        assert lock_owner(lock) is None
        with hold_study_lock(lock, "cells"):
            owner = lock_owner(lock)
            assert owner is not None
            assert owner.pid == os.getpid()


def test_an_error_releases_the_lock(lock: Path) -> None:
    with pytest.raises(RuntimeError, match="inside"), hold_study_lock(lock, "cells"):
        raise RuntimeError("inside")
    assert lock_owner(lock) is None
    with hold_study_lock(lock, "cells"):
        pass


def test_a_process_cannot_hold_the_lock_twice(lock: Path) -> None:
    with (
        hold_study_lock(lock, "cells"),
        pytest.raises(StudyError, match=f"process {os.getpid()}"),
        hold_study_lock(lock, "cells"),
    ):
        pass


def test_a_lock_without_a_readable_owner_still_refuses(lock: Path) -> None:
    with hold_study_lock(lock, "cells"):
        lock.write_text("{", encoding="utf-8")
        with pytest.raises(StudyError, match="by another process"), hold_study_lock(lock, "cells"):
            pass


def test_reading_the_owner_does_not_block_a_supervisor(lock: Path) -> None:
    """Another process lists the studies while a supervisor starts."""
    with hold_study_lock(lock, "cells"):
        pass
    with _start(_READ_OWNER, lock) as reader:
        try:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "reading\n"
            for _ in range(1500):
                with hold_study_lock(lock, "cells"):
                    pass
        finally:
            reader.kill()
