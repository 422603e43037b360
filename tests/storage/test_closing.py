"""A command closes the databases when it ends, also the connections that the libraries keep."""

import subprocess
import sys
from pathlib import Path

from rnnexp.home import Home

PROGRAM = """
import sys
from rnnexp.cli import main
from rnnexp.home import Home
from rnnexp.storage.database import open_storage
main(["studies", "--home", sys.argv[1]])
storage = open_storage(Home.open(sys.argv[1]))
study = storage.create_new_study([1], "s")
print(storage.get_study_name_from_id(study))
"""


def test_no_write_ahead_log_is_left(tmp_path: Path) -> None:
    home = Home.open(tmp_path)
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "s", done.stderr
    assert done.stderr == ""
    assert home.optuna_db.exists()
    assert not list(tmp_path.glob("optuna.db-*"))
