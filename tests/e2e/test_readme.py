"""Runs the commands that the README shows."""

import os
import re
import shlex
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from rnnexp.cli import parser
from rnnexp.config.files import dump, load_mapping, parse
from rnnexp.config.load import load_sweep
from tests.e2e.conftest import Ran

TOP = Path(__file__).resolve().parent.parent.parent
README = (TOP / "README.md").read_text(encoding="utf-8")

NOT_RUN = {
    "make": "sets up an environment; `make -n` is checked below",
    "pip install": "sets up an environment",
    "python -m venv": "sets up an environment",
    "source": "sets up an environment",
    "git clone": "needs the network",
    "docker": "needs Docker",
    "export RAY_AUTH_MODE": "needs a cluster; tested in test_ray.py",
    "ray start": "needs a cluster; tested in test_ray.py",
    "rnnexp sweep cells.yaml --engine ray": "needs a cluster; tested in test_ray.py",
    "export RNNEXP_STORAGE": "needs servers; tested in test_postgres.py",
    "export MLFLOW_TRACKING_URI": "needs servers; tested in test_postgres.py",
    "rnnexp ui": "serves until Ctrl-C; tested below",
    "rnnexp serve": "serves until Ctrl-C; tested in test_serve.py",
    "rnnexp predict best --file": "needs a file of the user; tested in test_predict_file.py",
    "rnnexp stop": "needs a running study; tested in test_interrupt.py",
    "rnnexp certify": "needs a finished study, and a minute; tested in test_certify.py",
    "rnnexp verify": "tested in test_verify.py",
    "rnnexp delete": "asks for confirmation; tested in test_sweep.py",
    "rnnexp data get": "may need the network; tested in tests/data",
}
"""Commands of the README's console blocks that `test_the_commands` does not run, by how they begin, and why."""

_SHELL_OPERATORS = {"|", ">", ">>", "<", "&&", ";", "&"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.S)


def console_lines() -> list[str]:
    """Returns the command lines of the console blocks, in the README's order, without a prompt."""
    found: list[str] = []
    for block in blocks("console"):
        lines = [line for line in block.replace("\\\n", " ").splitlines() if line.strip()]
        prompts = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        found += prompts or lines  # the other lines of a block with prompts are output
    return found


def is_run(line: str) -> bool:
    return not any(re.match(rf"{re.escape(start)}\b", line) for start in NOT_RUN)


def arguments(line: str) -> list[str]:
    """Returns the program's arguments in a command line, up to a shell operator."""
    words = shlex.split(line, comments=True)[1:]
    end = next((place for place, word in enumerate(words) if word in _SHELL_OPERATORS), len(words))
    return words[:end]


def test_every_line_is_run_or_listed_as_not_run() -> None:
    unknown = [line for line in console_lines() if is_run(line) and not line.startswith("rnnexp ")]
    assert not unknown, "run these lines in test_the_commands, or list them in NOT_RUN with a reason"


def test_every_command_parses() -> None:
    lines = [line for line in console_lines() if line.startswith("rnnexp ")]
    assert len(lines) >= 15
    for line in lines:
        parser().parse_args(arguments(line))


def test_the_sweep_file_is_valid(tmp_path: Path) -> None:
    file = tmp_path / "readme.yaml"
    file.write_text(blocks("yaml")[0])
    config = load_sweep(file)
    assert config.n_trials > 1
    assert any(line.startswith(f"rnnexp sweep {config.study}.yaml") for line in console_lines())


def test_every_shipped_sweep_is_valid_and_named() -> None:
    for file in sorted((TOP / "sweeps").glob("*.yaml")):
        assert load_sweep(file).study == file.stem
        assert f"sweeps/{file.name}" in README
        assert file.read_text().startswith("# "), "a sweep file starts with its question"


def test_make_runs_what_the_readme_says() -> None:
    done = subprocess.run(["make", "-n", "sweep", "test"], cwd=TOP, capture_output=True, text=True, check=True)
    assert "rnnexp sweep sweeps/quickstart.yaml" in done.stdout
    assert "pytest" in done.stdout


def small(values: dict[str, Any]) -> str:
    """Returns a sweep file with few trials and small models, on few generated texts."""
    base, space, points = values.setdefault("base", {}), values.get("space", {}), values.get("try", [])
    sizes = {"model.units": (8, [4, 8]), "model.embedding_dim": (8, [4, 8]), "data.maxlen": (40, [20, 40])}
    for name, (value, both) in sizes.items():
        if name in space:
            space[name] = {"choice": both}
        for point in points:
            if name in point:
                point[name] = value
    base["data"] = {"name": "reviews", "train_samples": 300, "maxlen": 40}
    base["train"] = base.get("train", {}) | {"epochs": 2}
    values["budget"] = {"trials": 2}
    return dump(values)


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs a command line in a shell that finds `rnnexp`; a failure before a pipe is a failure of the line."""
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", line],
        cwd=folder,
        capture_output=True,
        text=True,
        input="",
        env={**os.environ, "PATH": path},
        timeout=600,
    )


@pytest.mark.parametrize("line", ["false | cat", "false; true", "missing-program"])
def test_a_line_of_which_one_command_fails_is_noticed(line: str, tmp_path: Path) -> None:
    assert shell(line, tmp_path).returncode != 0
    assert shell("true | cat", tmp_path).returncode == 0


@pytest.mark.tensorflow
def test_the_commands(tmp_path: Path) -> None:
    """Runs all commands in order, on generated texts, with small budgets."""
    program = tmp_path / "bin" / "rnnexp"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m rnnexp "$@"\n')
    program.chmod(0o755)
    values = parse(blocks("yaml")[0], "README.md")
    study = values["study"]
    (tmp_path / f"{study}.yaml").write_text(small(values))
    (tmp_path / "sweeps").mkdir()
    for file in (TOP / "sweeps").glob("*.yaml"):
        (tmp_path / "sweeps" / file.name).write_text(small(load_mapping(file)))

    outputs: list[tuple[list[str], str]] = []
    for line in filter(is_run, console_lines()):
        fewer = re.sub(r"--trials \d+", "--trials 3", line)
        fewer = re.sub(r"^(rnnexp (?:show|logs) \S+) \d+", r"\1 1", fewer)
        done = shell(fewer, tmp_path)
        assert done.returncode == 0, f"{fewer}: {done.stdout}{done.stderr}"
        outputs.append((arguments(fewer), done.stdout))

    def output_of(*words: str) -> str:
        """Returns the output of the first command that contains the words."""
        return next(output for command, output in outputs if set(words) <= set(command))

    assert "3 of 3 trials" in output_of("compare", study)
    assert "resumes: 2 of 3 trials finished" in output_of("sweep", f"{study}.yaml", "--trials")
    named = {parser().parse_args(command).study for command, _ in outputs if command[0] == "sweep"} - {None}
    assert named
    assert {study} | named <= set(output_of("studies").split())
    predict = next(command for command, _ in outputs if command[0] == "predict")
    assert len(output_of("predict").splitlines()) == len(parser().parse_args(predict).text)
    html = next(command for command, _ in outputs if "--html" in command)
    assert (tmp_path / html[html.index("--html") + 1]).exists()
    assert (tmp_path / "mlruns" / "optuna.db").exists()


@pytest.mark.tensorflow
def test_the_ui_is_served_on_loopback(ran: Ran) -> None:
    server = subprocess.Popen(
        [sys.executable, "-m", "rnnexp", "ui", "--home", str(ran.home)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert address, line
        deadline = time.monotonic() + 60
        while True:
            try:
                page = urllib.request.urlopen(address.group() + "/health", timeout=5)
                break
            except OSError:
                assert time.monotonic() < deadline, "the server never answered"
                time.sleep(0.5)
        assert page.status == 200
        run_id = ran.json("trials", "small")[0]["run_id"]
        image = urllib.request.urlopen(
            f"{address.group()}/get-artifact?path=curves.png&run_uuid={run_id}", timeout=30
        ).read()
        assert image.startswith(b"\x89PNG")
    finally:
        server.terminate()
        server.wait(30)
        if server.stdout is not None:
            server.stdout.close()
