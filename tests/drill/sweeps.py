"""A real sweep that a drill can start again and again, and the MLflow server that it may write to."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rnnexp.home import Home
from rnnexp.storage.views import StudyView, view
from tests.drill import processes
from tests.drill.processes import Process

SILENCE_S = 10
STUDY = "drill"
SWEEP = f"""
study: {STUDY}
sampler: {{name: random, seed: 5}}
pruner: {{name: none}}
budget: {{trials: 20}}
base:
  data: {{name: reviews, train_samples: 900, validation_split: 0.02, maxlen: 60, vocab_size: 500}}
  model: {{embedding_dim: 8, dropout: 0.2}}
  train: {{epochs: 14, batch_size: 32, learning_rate: 0.01}}
space:
  model.cell: {{choice: [simple_rnn, gru, lstm]}}
  model.units: {{int: [4, 24]}}
  train.optimizer: {{choice: [adam, rmsprop, sgd]}}
limits: {{heartbeat_timeout_s: {SILENCE_S}, retries: 1000}}
keep: {{checkpoints: 100}}
"""
"""Drawn at random and never pruned, so that no trial depends on another; every model is kept, to be compared."""
EPOCHS = 14


class NotSurvivedError(Exception):
    """Something was lost, or did not behave as the program says."""


class Server:
    """MLflow's own server on loopback, with a database and a folder of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.database = root / "server.db"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.sessions: list[int] = []
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Serves; returns when it does."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "mlflow", "server"),
                    *("--backend-store-uri", f"sqlite:///{self.database}"),
                    *("--artifacts-destination", str(self.root / "artifacts")),
                    *("--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"),
                ],
                env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.sessions.append(self._process.pid)
        deadline = time.monotonic() + 90
        while not self._answers():
            if time.monotonic() > deadline:
                raise RuntimeError(f"MLflow's server does not start: {(self.root / 'server.log').read_text()[-2000:]}")
            time.sleep(0.2)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def signal(self, number: int) -> None:
        """Sends a signal to every process of the server."""
        for process in processes.of_sessions(self.sessions):
            processes.send(process.pid, number)

    def kill(self) -> None:
        """Ends it at once."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()


@dataclass(frozen=True)
class World:
    """What a sweep runs in.

    Attributes:
        root: holds the home, the sweep file, the output.
        home: the program's state.
        server: the MLflow that the sweep writes to; None where the home keeps the runs itself.
    """

    root: Path
    home: Path
    server: Server | None = None


class Sweep:
    """One sweep file and one home; `start` runs the command, as often as it is called."""

    def __init__(self, world: World, text: str = SWEEP, study: str = STUDY, *more: str) -> None:
        self.world, self.study = world, study
        self.file = world.root / "sweep.yaml"
        self.file.write_text(text)
        self.arguments = ["sweep", str(self.file), "--home", str(world.home), "--workers", "2", *more]
        self.sessions: list[int] = []
        self.output = world.root / "output.txt"
        self._process: subprocess.Popen[bytes] | None = None
        self._said_before = 0

    @property
    def home(self) -> Home:
        return Home.at(self.world.home)

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
        return kept | ({"MLFLOW_TRACKING_URI": self.world.server.address} if self.world.server else {})

    def start(self) -> None:
        """Runs the command in a session of its own, as a terminal would."""
        self._said_before = self.output.stat().st_size if self.output.exists() else 0
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "rnnexp", *self.arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.sessions.append(self._process.pid)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs another command on the same home, from another shell."""
        command = [sys.executable, "-m", "rnnexp", *arguments]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=180, stdin=subprocess.DEVNULL
        )

    @property
    def pid(self) -> int:
        """The supervisor's."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def code(self) -> int | None:
        """The last start's exit code; None while it runs."""
        return self._process.poll() if self._process is not None else None

    @property
    def said(self) -> str:
        """What the last start has printed."""
        return self.output.read_bytes()[self._said_before :].decode("utf-8", "replace")

    def wait(self, within_s: float) -> int:
        """Waits for the end of the last start; returns its exit code."""
        assert self._process is not None
        try:
            return self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise NotSurvivedError(f"the sweep has not ended within {within_s:g} s; it said: {self.tail}") from None

    @property
    def tail(self) -> str:
        return " | ".join(self.said.splitlines()[-3:])

    @property
    def trials(self) -> list[Process]:
        """The processes that train now."""
        return [process for process in processes.of_sessions([self.pid]) if process.trial is not None]

    @property
    def forkserver(self) -> Process | None:
        """The process that forks trials."""
        return next(
            (
                process
                for process in processes.of_sessions([self.pid])
                if process.parent == self.pid and "forkserver" in process.command
            ),
            None,
        )

    def view(self) -> StudyView:
        """Reads the study."""
        return view(self.home, self.study)

    def until_complete(self, within_s: float = 300) -> None:
        """Runs the command until the study is done and MLflow has all of it."""
        for _ in range(6):
            if not self.running:
                self.start()
            code = self.wait(within_s)
            if code == 0 and "MLflow lacks" not in self.said:
                return
        raise NotSurvivedError(f"the same command does not come to an end: exit {code}; {self.tail}")

    def end(self) -> None:
        """Leaves nothing running."""
        processes.end(self.sessions)
        if self._process is not None:
            self._process.wait()


def borrow_cache(source: Path, home: Path) -> None:
    """Gives a new home the token stores of another, which saves building them."""
    if (source / "cache").is_dir():
        shutil.copytree(source / "cache", home / "cache")


@contextlib.contextmanager
def small_disk(root: Path, megabytes: int) -> Iterator[Path]:
    """Yields a folder on a disk of its own; raises `PermissionError` where none may be mounted."""
    root.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(root)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise PermissionError(done.stderr.strip() or "mount failed")
    try:
        yield root
    finally:
        subprocess.run(["umount", "--lazy", str(root)], check=True)
