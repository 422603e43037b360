"""The creation of MLflow's database in a home, killed at one of its statements."""

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
