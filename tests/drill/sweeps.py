"""A real sweep that a drill can start many times, and the MLflow server that the sweep may write to."""

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

HEARTBEAT_TIMEOUT_S = 10
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
limits: {{heartbeat_timeout_s: {HEARTBEAT_TIMEOUT_S}, retries: 1000}}
keep: {{checkpoints: 100}}
"""
"""Random search without a pruner, so that no trial depends on another; every model is kept for the comparison."""
EPOCHS = 14


@dataclass(frozen=True)
class Messages:
    """The texts of the program that the drill looks for in its output."""

    already_running: str = "is being run already, by process {pid}"
    mlflow_incomplete: str = "MLflow lacks"
    disk_full: str = "the disk is full"
    free_disk: str = "free some"
    ranking: str = "rank  trial"
    not_recorded: str = "could not be recorded"


MESSAGES = Messages()


class NotSurvivedError(Exception):
    """The sweep did not survive a fault: something was lost or did not behave as documented."""


class Server:
    """An MLflow server on the loopback address, with its own database and artifact folder."""

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
        """Starts the server; returns when it responds."""
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
        while not self._responds():
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"the MLflow server does not start: {(self.root / 'server.log').read_text()[-2000:]}"
                )
            time.sleep(0.2)

    def _responds(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/health", timeout=2) as response:
                return bool(response.status == 200)
        except OSError:
            return False

    def send_signal(self, number: int) -> None:
        """Sends a signal to every process of the server."""
        for process in processes.in_sessions(self.sessions):
            processes.send_signal(process.pid, number)

    def kill(self) -> None:
        """Kills the server."""
        self.send_signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()


@dataclass(frozen=True)
class Sandbox:
    """The folders and the server that a sweep uses.

    Attributes:
        root: contains the sweep file and the output.
        home: the program's home.
        server: the MLflow server that the sweep writes to; None if the runs are stored in the home, or at `mlflow`.
        mlflow: the address of a server that serves several rounds.
    """

    root: Path
    home: Path
    server: Server | None = None
    mlflow: str | None = None

    @property
    def mlflow_address(self) -> str | None:
        """The address of the MLflow server; None if the runs are stored in the home."""
        return self.server.address if self.server else self.mlflow


class Sweep:
    """One sweep file and one home; each call of `start` runs the command once."""

    def __init__(self, sandbox: Sandbox, text: str = SWEEP, study: str = STUDY, *options: str) -> None:
        self.sandbox, self.study = sandbox, study
        self.file = sandbox.root / "sweep.yaml"
        self.file.write_text(text)
        self.arguments = ["sweep", str(self.file), "--home", str(sandbox.home), "--workers", "2", *options]
        self.sessions: list[int] = []
        self.output = sandbox.root / "output.txt"
        self._process: subprocess.Popen[bytes] | None = None
        self._output_offset = 0

    @property
    def home(self) -> Home:
        return Home.at(self.sandbox.home)

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
        address = self.sandbox.mlflow_address
        return kept | ({"MLFLOW_TRACKING_URI": address} if address else {})

    def start(self) -> None:
        """Starts the command in its own session, as a terminal does."""
        self._output_offset = self.output.stat().st_size if self.output.exists() else 0
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.drill.program", *self.arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.sessions.append(self._process.pid)

    def run_command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs another command of the program, as from another shell."""
        command = [sys.executable, "-m", "rnnexp", *arguments]
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=180, stdin=subprocess.DEVNULL
        )

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def code(self) -> int | None:
        """The exit code of the last start; None while it runs."""
        return self._process.poll() if self._process is not None else None

    @property
    def last_output(self) -> str:
        """The output of the last start."""
        return self.output.read_bytes()[self._output_offset :].decode("utf-8", "replace")

    def wait(self, timeout_s: float) -> int:
        """Waits until the last start ends; returns its exit code.

        Raises:
            NotSurvivedError: if it does not end within the timeout.
        """
        assert self._process is not None
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise NotSurvivedError(
                f"the sweep did not end within {timeout_s:g} s; last output: {self.last_lines}"
            ) from None

    @property
    def last_lines(self) -> str:
        return " | ".join(self.last_output.splitlines()[-3:])

    @property
    def trial_processes(self) -> list[Process]:
        """The processes that train a trial now."""
        return [process for process in processes.in_sessions([self.pid]) if process.trial is not None]

    @property
    def forkserver(self) -> Process | None:
        """The process that forks trials."""
        return next(
            (
                process
                for process in processes.in_sessions([self.pid])
                if process.parent == self.pid and "forkserver" in process.command
            ),
            None,
        )

    def view(self) -> StudyView:
        """Returns the study as it is stored in Optuna."""
        return view(self.home, self.study)

    def run_to_completion(self, timeout_s: float = 300) -> None:
        """Runs the command until the study is complete and all of it is in MLflow."""
        for _ in range(6):
            if not self.running:
                self.start()
            code = self.wait(timeout_s)
            incomplete = (MESSAGES.mlflow_incomplete, MESSAGES.not_recorded)
            if code == 0 and not any(message in self.last_output for message in incomplete):
                return
        raise NotSurvivedError(f"the study is not complete after 6 starts: exit {code}; last output: {self.last_lines}")

    def kill_all(self) -> None:
        """Kills all processes of all starts."""
        processes.kill_sessions(self.sessions)
        if self._process is not None:
            self._process.wait()


def copy_cache(source: Path, home: Path) -> None:
    """Copies the token stores of one home to a new one, so that they are not built again."""
    if (source / "cache").is_dir():
        shutil.copytree(source / "cache", home / "cache")


@contextlib.contextmanager
def small_disk(root: Path, megabytes: int) -> Iterator[Path]:
    """Mounts a small disk and yields its folder.

    Raises:
        PermissionError: if this user may not mount a disk.
    """
    root.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(root)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise PermissionError(done.stderr.strip() or "mount failed")
    try:
        yield root
    finally:
        subprocess.run(["umount", "--lazy", str(root)], check=True)
