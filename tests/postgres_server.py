"""A PostgreSQL server of the tests: from Debian's package, in a temporary folder, on a free port, with passwords."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.mlflow_server import free_port

PASSWORD = "secret-of-postgres-5c1e"
_ADMIN = "administrator"
_USER = "team"


class PostgresServer:
    """A server that a test can stop and start."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._folder = programs, folder
        self._numbers = count()
        self.port = free_port()

    def create(self) -> None:
        """Creates the server's files."""
        secret = self._folder / "password"
        secret.write_text(PASSWORD)
        if os.getuid() == 0:  # the server refuses to run as root
            for path in (self._folder, secret):
                shutil.chown(path, "postgres")
        self._run("initdb", "-A", "scram-sha-256", "-U", _ADMIN, f"--pwfile={secret}", "-E", "UTF8", "--locale=C.UTF-8")

    def start(self) -> None:
        """Starts the server, and waits until it accepts connections."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._folder} -c fsync=off"
        self._run("pg_ctl", "-w", "-l", str(self._folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        """Ends the server, and all connections to it."""
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")

    def restart(self) -> None:
        """Ends the server without a checkpoint, as a crash does, and starts it again."""
        self.stop()
        self.start()

    def new_database(self) -> str:
        """Creates a user with an empty database; returns the address, with the password."""
        import psycopg

        name = f"{_USER}{next(self._numbers)}"
        with psycopg.connect(self.address(_ADMIN, "postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
            connection.execute(f"CREATE DATABASE {name} OWNER {name}")
        return self.address(name, name, "postgresql+psycopg")

    def address(self, user: str, database: str, scheme: str = "postgresql") -> str:
        return f"{scheme}://{user}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def as_administrator(self, address: str) -> Any:
        """Returns a connection of the administrator to the database of an address."""
        import psycopg

        return psycopg.connect(self.address(_ADMIN, address.rpartition("/")[2]), autocommit=True)

    def _run(self, program: str, *arguments: str) -> None:
        user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        command = [*user, str(self._programs / program), "-D", str(self._folder / "data"), *arguments]
        done = subprocess.run(command, cwd=self._folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def programs() -> Path | None:
    """Returns the folder with PostgreSQL's programs; None if it is not installed."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Runs a server until the end of the block; skips the test if PostgreSQL is not installed."""
    where = programs()
    if where is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="rnnexp-postgres-"))
    try:
        server = PostgresServer(where, folder)
        server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
