"""The lock of a study, held and tried by several processes."""

import os
import signal
import socket
import time
from pathlib import Path

import pytest

from rnnexp.errors import StudyError
from rnnexp.home import Home
from rnnexp.storage.study_lock import hold_study_lock, lock_owner
from tests.storage.lock_processes import holder, start

pytestmark = pytest.mark.integration  # starts processes

_TRY = """
import sys
from rnnexp.home import Home
from rnnexp.errors import StudyError
from rnnexp.storage.study_lock import hold_study_lock
try:
    with hold_study_lock(Home.at(sys.argv[1]), "cells"):
        print("held")
except StudyError as error:
    print(error)
"""

_READ_OWNER = """
import sys
from rnnexp.home import Home
from rnnexp.storage.study_lock import lock_owner
print("reading", flush=True)
while True:
    lock_owner(Home.at(sys.argv[1]), "cells")
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_a_second_process_is_refused_and_gets_the_owner(home: Home) -> None:
    with hold_study_lock(home, "cells"), start(_TRY, home) as second:
        output = second.communicate(timeout=30)[0]
    assert output.startswith(
        f"study cells is being run already, by process {os.getpid()} on {socket.gethostname()} since 20"
    )
    assert "rnnexp stop cells" in output
    with start(_TRY, home) as third:
        assert third.communicate(timeout=30)[0] == "held\n"


def test_another_process_can_read_the_owner(home: Home) -> None:
    assert lock_owner(home, "cells") is None
    with holder(home, "cells") as process:
        owner = lock_owner(home, "cells")
        assert owner is not None
        assert (owner.pid, owner.host) == (process.pid, socket.gethostname())
        assert abs(owner.since - time.time()) < 60
        with pytest.raises(StudyError, match=f"by process {process.pid} on"), hold_study_lock(home, "cells"):
            pass
        assert lock_owner(home, "cells") == owner, "reading the owner and a refused attempt leave the lock as it is"
        process.communicate("end\n", timeout=30)
    assert lock_owner(home, "cells") is None


def test_the_lock_of_a_killed_process_is_free(home: Home) -> None:
    with holder(home, "cells") as process:
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        assert lock_owner(home, "cells") is None
        with hold_study_lock(home, "cells"):
            owner = lock_owner(home, "cells")
            assert owner is not None
            assert owner.pid == os.getpid()


def test_an_error_releases_the_lock(home: Home) -> None:
    with pytest.raises(RuntimeError, match="inside"), hold_study_lock(home, "cells"):
        raise RuntimeError("inside")
    assert lock_owner(home, "cells") is None
    with hold_study_lock(home, "cells"):
        pass


def test_a_process_cannot_hold_the_lock_twice(home: Home) -> None:
    with (
        hold_study_lock(home, "cells"),
        pytest.raises(StudyError, match=f"process {os.getpid()}"),
        hold_study_lock(home, "cells"),
    ):
        pass


def test_a_lock_without_a_readable_owner_still_refuses(home: Home) -> None:
    with hold_study_lock(home, "cells"):
        home.study("cells").lock.write_text("{", encoding="utf-8")
        with pytest.raises(StudyError, match="by another process"), hold_study_lock(home, "cells"):
            pass


def test_reading_the_owner_does_not_block_a_supervisor(home: Home) -> None:
    """Another process lists the studies while a supervisor starts."""
    with hold_study_lock(home, "cells"):
        pass
    with start(_READ_OWNER, home) as reader:
        try:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "reading\n"
            for _ in range(1500):
                with hold_study_lock(home, "cells"):
                    pass
        finally:
            reader.kill()
