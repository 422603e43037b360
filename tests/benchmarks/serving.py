"""The latency of a served model: `rnnexp serve`, beside `mlflow models serve` on the same bundle and on a Keras one."""

import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.harness import Options, Result, Target, users_environment
from tests.benchmarks.startup import PROGRAM

_SWEEP = """
study: served
sampler: {name: random, seed: 5}
budget: {trials: 1}
base:
  data: {name: reviews, maxlen: 200, train_samples: 2000}
  model: {cell: lstm, units: 32, embedding_dim: 32}
  train: {epochs: 1}
space:
  train.seed: {choice: [1]}
"""
_N_CLIENTS, _N_REQUESTS = 8, 2_000
_TEXT = "the plot was never dull , and although the music was tedious the cast was superb from start to end " * 8
_START_TIMEOUT_S = 180


def run(options: Options) -> Result:
    """Exports a model, starts each server by itself, and sends requests of one text from several clients."""
    n_requests = 80 if options.quick else _N_REQUESTS
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        environment = users_environment() | {"RNNEXP_HOME": str(root / "home"), "MLFLOW_DISABLE_TELEMETRY": "true"}
        (root / "served.yaml").write_text(_SWEEP)
        _rnnexp(environment, "sweep", str(root / "served.yaml"))
        for name, formats in (("onnx", ("onnx", "mlflow")), ("keras", ("mlflow",))):
            chosen = [word for each in formats for word in ("--format", each)]
            _rnnexp(environment, "export", "served", "--to", str(root / name), *chosen)
        mlflow = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local", "-m"]
        serve = [sys.executable, "-c", PROGRAM, "serve"]
        servers = {
            "rnnexp serve": ([*serve, str(root / "onnx")], "/predict", "texts"),
            "rnnexp serve, Keras": ([*serve, str(root / "keras")], "/predict", "texts"),
            "mlflow models serve": ([*mlflow, str(root / "onnx" / "mlflow")], "/invocations", "inputs"),
            "mlflow models serve, Keras": ([*mlflow, str(root / "keras" / "mlflow")], "/invocations", "inputs"),
        }
        for name, (command, path, key) in servers.items():
            with _server(command, environment) as (port, start_s):
                _measure(port, path, key, 40)  # warms up
                rows.append({"server": name, "start, s": start_s, **_measure(port, path, key, n_requests)})
    ratio = float(str(rows[2]["median, ms"])) / float(str(rows[0]["median, ms"]))
    return Result(
        name="serving",
        title=f"Serving one text a request, {_N_CLIENTS} clients",
        rows=rows,
        targets=[
            Target("median of mlflow models serve, in those of rnnexp serve", ratio, 1.0, at_least=True),
            Target("requests of rnnexp serve without an answer", float(str(rows[0]["errors"])), 0.0, at_least=False),
        ],
        notes=(f"{n_requests} requests of a text of {len(_TEXT.split())} words; each server alone, connections kept",),
    )


def _rnnexp(environment: dict[str, str], *arguments: str) -> None:
    command = [sys.executable, "-c", PROGRAM, *arguments]
    subprocess.run(command, env=environment, check=True, capture_output=True)


@contextmanager
def _server(command: list[str], environment: dict[str, str]) -> Iterator[tuple[int, float]]:
    """Runs a server; yields its port, and the seconds until it answered."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    start = time.monotonic()
    with Path(os.devnull).open("w") as null:
        process = subprocess.Popen(
            [*command, "--port", str(port)], env=environment, stdout=null, stderr=null, start_new_session=True
        )
    try:
        while not _answers(port):
            if process.poll() is not None or time.monotonic() - start > _START_TIMEOUT_S:
                raise RuntimeError(f"{' '.join(command)} does not answer")
            time.sleep(0.05)
        yield port, time.monotonic() - start
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(port: int) -> bool:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    except OSError:
        return False


def _measure(port: int, path: str, key: str, n_requests: int) -> dict[str, object]:
    """Sends requests from several clients; returns their latencies."""
    body, headers = json.dumps({key: [_TEXT]}), {"Content-Type": "application/json"}
    times: list[float] = []
    errors: list[str] = []

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for _ in range(n_requests // _N_CLIENTS):
            start = time.perf_counter()
            try:
                connection.request("POST", path, body, headers)
                answer = connection.getresponse()
                content = json.loads(answer.read())
                if answer.status != 200 or len(content["predictions"]) != 1:
                    errors.append(str(answer.status))
            except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
                errors.append(repr(error))
                connection.close()
            times.append(1000 * (time.perf_counter() - start))

    clients = [threading.Thread(target=client) for _ in range(_N_CLIENTS)]
    begun = time.monotonic()
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    times.sort()
    return {
        "requests": len(times),
        "errors": len(errors),
        "median, ms": round(statistics.median(times), 2),
        "95%, ms": round(times[int(0.95 * len(times))], 2),
        "99%, ms": round(times[int(0.99 * len(times))], 2),
        "a second": round(len(times) / (time.monotonic() - begun)),
    }
