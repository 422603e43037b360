"""Processes of tests that use the lock of a study."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rnnexp.home import Home

_HOLD = """
import sys
from rnnexp.home import Home
from rnnexp.storage.study_lock import hold_study_lock
with hold_study_lock(Home.at(sys.argv[1]), sys.argv[2]):
    print("held", flush=True)
    sys.stdin.readline()
"""


def start(code: str, home: Home, *arguments: str) -> "subprocess.Popen[str]":
    """Starts a process that runs code with the home's folder as its first argument."""
    return subprocess.Popen(
        [sys.executable, "-c", code, str(home.root), *arguments],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@contextmanager
def holder(home: Home, study: str) -> "Iterator[subprocess.Popen[str]]":
    """A process that holds the lock of a study, until it gets a line or the block ends."""
    with start(_HOLD, home, study) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()
