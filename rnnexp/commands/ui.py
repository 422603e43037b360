"""`rnnexp ui`: run MLflow's UI on this home, by default on loopback."""

import argparse
import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rnnexp import addresses
from rnnexp.commands.host import LAST_PORT, page, resolve
from rnnexp.errors import HomeError, UserError, WorkError
from rnnexp.home import Home
from rnnexp.storage.database import database_creation_lock
from rnnexp.tracking.paths import artifact_address

_FIRST_PORT, _N_PORTS = 5000, 50
_POLL_S = 0.2
_PAGE = "/#/experiments?workflowType=machine_learning"
"""MLflow's view for model training; by default it opens the view for language models."""


def run(args: argparse.Namespace) -> int:
    """Prints the address and serves until Ctrl-C."""
    home = Home.at(args.home)
    if home.tracking_note:
        print(home.tracking_note, file=sys.stderr)
    if home.tracking_server is not None:
        print(f"MLFLOW_TRACKING_URI is {home.tracking_server}: new runs are written to that server and shown by its UI")
    while args.wait and not home.mlflow_db.exists():
        time.sleep(1)
    if not home.mlflow_db.exists():
        raise HomeError(
            f"{home.root}: no runs yet; start with `rnnexp sweep sweeps/quickstart.yaml`, or choose another --home"
        )
    if args.optuna and importlib.util.find_spec("optuna_dashboard") is None:
        raise UserError("ui --optuna: optuna-dashboard is not installed; run: pip install optuna-dashboard")
    port = _port(args.host, args.port)
    dashboard_port = _port(args.host, None, port + 1) if args.optuna else None
    with database_creation_lock(home):
        pass  # waits for a sweep that is creating the tables
    if not addresses.is_loopback(args.host):
        print(
            f"--host {args.host}: everybody who reaches this machine over the network can read, change and delete the "
            "runs, because MLflow's UI asks for no password",
            flush=True,
        )
    print(f"MLflow's UI for {home.root}: {page(args.host, port)}{_PAGE} (Ctrl-C stops it)", flush=True)
    log = home.logs / "mlflow-server.log"
    log.parent.mkdir(exist_ok=True)
    # MLflow creates the folder of a database without decoding the address; a relative one names the working folder.
    encoded = "%" in home.mlflow_uri
    with log.open("w") as output:
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server"),
                *("--backend-store-uri", f"sqlite:///{home.mlflow_db.name}" if encoded else home.mlflow_uri),
                *("--artifacts-destination", artifact_address(home.artifacts)),
                *("--host", args.host, "--port", str(port), "--workers", "1"),
            ],
            cwd=home.root if encoded else None,
            env={name: value for name, value in os.environ.items() if name != addresses.VARIABLE}
            | {"MLFLOW_DISABLE_TELEMETRY": "true"},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    servers = {"MLflow's server": (server, log)}

    def end(*_: Any) -> None:
        for each, _log in servers.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(each.pid, signal.SIGTERM)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    try:
        if dashboard_port is not None:
            servers["Optuna's dashboard"] = _start_dashboard(home, args.host, dashboard_port)
        while all(each.poll() is None for each, _log in servers.values()):
            time.sleep(_POLL_S)
    finally:
        end()
    for name, (each, its_log) in servers.items():
        if each.wait() not in (0, -signal.SIGTERM):
            raise WorkError(f"{name} ended with exit code {each.returncode}; its output is in {its_log}")
    return 0


def _start_dashboard(home: Home, host: str, port: int) -> "tuple[subprocess.Popen[bytes], Path]":
    """Starts Optuna's dashboard; prints its address. Returns the process and its log."""
    print(f"Optuna's dashboard, for reading only: {page(host, port)}/dashboard", flush=True)
    log, (_, address) = home.logs / "optuna-dashboard.log", resolve(host, port)
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "rnnexp.storage.dashboard", str(home.root), address[0], str(port)],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return process, log


def _port(host: str, wanted: int | None, first: int = _FIRST_PORT) -> int:
    """Returns a free port: the wanted one, or one of those from the first one on."""
    last = first + _N_PORTS
    for port in [wanted] if wanted is not None else range(first, min(last, LAST_PORT + 1)):
        family, address = resolve(host, port, first_port=1)
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
                return port
            except OSError:
                continue
    tried = str(wanted) if wanted is not None else f"{first} to {last - 1}"
    raise UserError(f"--port: {tried} cannot be used on {host}; choose a free port")
