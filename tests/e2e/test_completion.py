"""Completion in real shells, typed into a terminal."""

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rnnexp.home import Home
from tests.storage.optuna_studies import create_study

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed"),
]

SHELLS = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i"], "fish": ["fish", "-N", "-i"]}
SET_UP = {
    "bash": 'eval "$(rnnexp completion bash)"',
    "zsh": 'autoload -U compinit && compinit -u -D; eval "$(rnnexp completion zsh)"',
    "fish": "rnnexp completion fish | source",
}


class Terminal:
    """A shell in a terminal of its own."""

    def __init__(self, socket: Path, environment: dict[str, str]) -> None:
        self._tmux, self._environment = ["tmux", "-S", str(socket)], environment

    def run(self, *arguments: str) -> str:
        command = [*self._tmux, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=self._environment)
        return done.stdout

    def screen(self) -> str:
        return self.run("capture-pane", "-p", "-J")

    def type(self, *keys: str) -> None:
        self.run("send-keys", *keys)

    def wait_for(self, text: str, timeout_s: float = 20) -> str:
        """Waits until the screen has a text; returns the screen."""
        deadline = time.monotonic() + timeout_s
        while text not in (screen := self.screen()):
            assert time.monotonic() < deadline, f"{text!r} did not appear:\n{screen}"
            time.sleep(0.1)
        return screen

    def command(self, line: str) -> None:
        """Runs a command and waits for its end."""
        self.type(f"{line}; echo en''d", "Enter")
        screen = self.wait_for("\nend\n")
        print(screen.strip())  # for the report of a failure
        self.type("clear", "Enter")
        time.sleep(0.3)


@contextmanager
def terminal(folder: Path, shell: str) -> Iterator[Terminal]:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    scripts = folder / "bin"
    scripts.mkdir()
    program = scripts / "rnnexp"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m rnnexp "$@"\n')
    program.chmod(0o755)
    home = {"HOME": str(folder), "RNNEXP_HOME": str(folder / "home"), "PYTHONPATH": str(Path.cwd())}
    found = Terminal(folder / "tmux", os.environ | home | {"PATH": f"{scripts}:{os.environ['PATH']}"})
    # tmux takes the PATH of its client, whatever -e says.
    size = ("-x", "150", "-y", "50")
    found.run("-f", "/dev/null", "new-session", "-d", *size, "-c", str(folder), *SHELLS[shell])
    try:
        found.command(SET_UP[shell])
        yield found
    finally:
        subprocess.run(["tmux", "-S", str(folder / "tmux"), "kill-server"], capture_output=True)


@pytest.mark.parametrize("shell", SHELLS)
def test_verbs_options_and_names_of_studies_are_completed(tmp_path: Path, shell: str) -> None:
    create_study(Home.open(tmp_path / "home"), "imdb-cells")
    create_study(Home.open(tmp_path / "home"), "reviews")
    create_study(Home.open(tmp_path / "other"), "elsewhere")
    (tmp_path / "mine.yaml").write_text("study: mine\n")
    (tmp_path / "mine.txt").write_text("")
    with terminal(tmp_path, shell) as typed:
        typed.type("rnnexp comple", "Tab")
        typed.wait_for("rnnexp completion")
        typed.type("C-u", "rnnexp compare imd", "Tab")
        typed.wait_for("rnnexp compare imdb-cells")
        typed.type("C-u", "rnnexp export rev", "Tab")
        typed.wait_for("rnnexp export reviews")
        typed.type("C-u", "rnnexp trials --home ./other els", "Tab")
        typed.wait_for("rnnexp trials --home ./other elsewhere")
        typed.type("C-u", "rnnexp export reviews --form", "Tab")
        typed.wait_for("rnnexp export reviews --format")
        typed.type("C-u", "rnnexp export reviews --format on", "Tab")
        typed.wait_for("rnnexp export reviews --format onnx")
        typed.type("C-u", "rnnexp sweep mi", "Tab")
        typed.wait_for("rnnexp sweep mine.yaml")


def test_an_unknown_shell_is_refused() -> None:
    done = subprocess.run([sys.executable, "-m", "rnnexp", "completion", "csh"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "invalid choice: 'csh'" in done.stderr
