"""The lock of a file that its holder deletes, with real processes."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest

from rnnexp import locks
from rnnexp.errors import StudyError
from rnnexp.home import Home, TrialFolder
from rnnexp.storage.study_lock import hold_study_lock, lock_owner
from rnnexp.trial import folder_lock

_WAIT = """
import sys
from pathlib import Path
from rnnexp import locks
from rnnexp.home import Home, TrialFolder
from rnnexp.storage import study_lock
from rnnexp.trial import folder_lock
study_lock._ACQUIRE_TIMEOUT_S = 60
path = Path(sys.argv[2])
holding = {
    "study": lambda: study_lock.hold_study_lock(Home(path.parents[2]), "cells"),
    "store": lambda: locks.held(path),
    "trial": lambda: folder_lock.hold_folder_lock(TrialFolder(path.parent)),
}[sys.argv[1]]
print("waiting", flush=True)
with holding():
    print("held", flush=True)
    sys.stdin.readline()
"""


def _holding(kind: str, path: Path) -> AbstractContextManager[object]:
    if kind == "study":
        return hold_study_lock(Home(path.parents[2]), "cells")
    return locks.held(path) if kind == "store" else folder_lock.hold_folder_lock(TrialFolder(path.parent))


@contextmanager
def _held(kind: str, path: Path) -> Iterator[Callable[[], None]]:
    """Holds a lock; yields a function that releases it."""
    with ExitStack() as stack:
        stack.enter_context(_holding(kind, path))
        yield stack.close


@contextmanager
def _waiter(kind: str, path: Path) -> "Iterator[subprocess.Popen[str]]":
    """A process that waits for the lock; it holds it until it gets a line or its input ends."""
    with subprocess.Popen(
        [sys.executable, "-c", _WAIT, kind, str(path)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as started:
        assert started.stdout is not None
        assert started.stdout.readline() == "waiting\n"
        time.sleep(0.3)  # it has the file open now
        try:
            yield started
        finally:
            started.kill()


@pytest.mark.parametrize("kind", ["study", "store", "trial"])
def test_a_waiter_does_not_get_the_lock_of_a_deleted_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "work" / "cells" / "lock"
    with _held(kind, path) as release, _waiter(kind, path) as waiter:
        shutil.rmtree(path.parent)  # by the holder, as at the end of `rnnexp delete`
        release()
        assert waiter.stdout is not None
        assert waiter.stdout.readline() == "held\n"
        assert path.exists(), "the waiter holds the lock of a file without a name"
        assert locks.is_held(path)
        assert locks.open_locked(path, 0.2) is None, "two processes hold the lock"


def test_a_second_supervisor_is_refused_after_the_lock_file_was_deleted(tmp_path: Path) -> None:
    home = Home(tmp_path)
    path = home.study("cells").lock
    with _held("study", path) as release, _waiter("study", path) as waiter:
        path.unlink()
        release()
        assert waiter.stdout is not None
        assert waiter.stdout.readline() == "held\n"
        with pytest.raises(StudyError, match=f"process {waiter.pid}"), hold_study_lock(home, "cells"):
            pass
        owner = lock_owner(home, "cells")
        assert owner is not None
        assert owner.pid == waiter.pid


def test_a_lock_that_is_held_elsewhere_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "a" / "lock"
    first = locks.open_locked(path, 0)
    assert first is not None
    assert locks.open_locked(path, 0) is None
    first.close()
    second = locks.open_locked(path, 0)
    assert second is not None
    second.close()
    assert not locks.is_held(path)
    assert locks.holders(tmp_path / "none") == []


def test_a_lock_file_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "missing" / "lock")
    with pytest.raises(FileNotFoundError):
        locks.open_locked(tmp_path / "lock", 0)
