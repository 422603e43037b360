"""MLflow's database in a home: its creation is killed at one of its statements; a write fails."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rnnexp.home import Home
from rnnexp.tracking.client import open_client

pytestmark = pytest.mark.integration  # creates a database of MLflow

_PROGRAM = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import Engine, event
from rnnexp.home import Home
from rnnexp.tracking.client import open_client

left = int(sys.argv[2])

@event.listens_for(Engine, "before_cursor_execute")
def count(connection, cursor, statement, *others):
    global left
    if statement.lstrip().upper().startswith(("CREATE", "ALTER", "INSERT")):
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

open_client(Home.open(Path(sys.argv[1])))
print("created")
"""


@pytest.mark.parametrize("n_statements", [5, 40, 110])
def test_the_next_start_creates_a_database_whose_creation_was_killed(tmp_path: Path, n_statements: int) -> None:
    command = [sys.executable, "-c", _PROGRAM, str(tmp_path / "home")]
    killed = subprocess.run([*command, str(n_statements)], capture_output=True, text=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    home = Home.at(tmp_path / "home")
    done = subprocess.run([*command, "1000000"], capture_output=True, text=True, timeout=120)
    assert done.stdout == "created\n", done.stderr
    assert not list(home.root.glob("writing-*"))
    client = open_client(home)
    client.create_run(client.create_experiment("s"))


_FAILING_WRITE = """
import sqlite3, sys
from pathlib import Path
from sqlalchemy import Engine, event
from rnnexp import disk
from rnnexp.home import Home
from rnnexp.tracking.client import open_client

client = open_client(Home.open(Path(sys.argv[1])))

@event.listens_for(Engine, "before_cursor_execute")
def fail(connection, cursor, statement, *others):
    if statement.startswith("INSERT"):
        raise sqlite3.OperationalError("database or disk is full")

try:
    client.create_experiment("s")
except Exception as error:
    print(disk.is_full(error))
"""


def test_a_failed_write_is_raised_and_not_printed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _FAILING_WRITE, str(tmp_path / "home")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("True\n", "")
