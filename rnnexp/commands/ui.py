"""`rnnexp ui`: MLflow's own pages on this home, on loopback."""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time

from rnnexp.errors import HomeError, UserError, WorkError
from rnnexp.home import Home
from rnnexp.storage.database import database_creation_lock

_FIRST_PORT, _LAST_PORT = 5000, 5050
_PAGE = "/#/experiments?workflowType=machine_learning"
"""MLflow's pages for training; left to itself it opens those for language models."""


def run(args: argparse.Namespace) -> int:
    """Says the address and serves until Ctrl-C."""
    home = Home.at(args.home)
    if home.tracking_server is not None:
        print(f"MLFLOW_TRACKING_URI names {home.tracking_server}: runs are written there, and its own pages show them")
    while args.wait and not home.mlflow_db.exists():
        time.sleep(1)
    if not home.mlflow_db.exists():
        raise HomeError(
            f"{home.root}: no runs here yet; begin with `rnnexp sweep sweeps/quickstart.yaml`, or name another --home"
        )
    port = _port(args.host, args.port)
    with database_creation_lock(home):
        pass  # a sweep that has just begun may still be making the tables
    print(f"MLflow on {home.root}: http://{args.host}:{port}{_PAGE} (Ctrl-C ends it)", flush=True)
    log = home.logs / "mlflow-server.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("w") as output:
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server"),
                *("--backend-store-uri", home.mlflow_uri),
                *("--artifacts-destination", str(home.artifacts)),
                *("--host", args.host, "--port", str(port), "--workers", "1"),
            ],
            env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: os.killpg(server.pid, signal.SIGTERM))
    if server.wait() not in (0, -signal.SIGTERM):
        raise WorkError(f"MLflow's server ended with code {server.returncode}; its output is in {log}")
    return 0


def _port(host: str, wanted: int | None) -> int:
    """Returns a port that nobody listens on."""
    for port in [wanted] if wanted is not None else range(_FIRST_PORT, _LAST_PORT):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
                return port
            except (OSError, OverflowError):
                continue
    tried = str(wanted) if wanted is not None else f"{_FIRST_PORT} to {_LAST_PORT}"
    raise UserError(f"--port: {tried} cannot be used on {host}; name a free one")
