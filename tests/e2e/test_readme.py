"""What the README says to type is typed here."""

import re
import shlex
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from rnnexp.cli import parser
from rnnexp.config.load import load_sweep
from tests.e2e.conftest import Ran, rnnexp

TOP = Path(__file__).resolve().parent.parent.parent
README = (TOP / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.S)


def commands() -> list[list[str]]:
    """The program's commands, in the README's order, without their comments."""
    lines = [line for block in blocks("console") for line in block.splitlines()]
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("rnnexp ")]


def test_every_command_parses() -> None:
    assert len(commands()) >= 15
    for command in commands():
        parser().parse_args(command)


def test_the_sweep_file_is_sound(tmp_path: Path) -> None:
    file = tmp_path / "cells.yaml"
    file.write_text(blocks("yaml")[0])
    config = load_sweep(file)
    assert config.study == "cells"
    assert config.n_trials == 40


def test_every_shipped_sweep_is_sound_and_named() -> None:
    for file in sorted((TOP / "sweeps").glob("*.yaml")):
        assert load_sweep(file).study == file.stem
        assert f"sweeps/{file.name}" in README
        assert file.read_text().startswith("# "), "a sweep opens with its question"


def test_make_says_what_the_readme_says() -> None:
    done = subprocess.run(["make", "-n", "sweep", "test"], cwd=TOP, capture_output=True, text=True, check=True)
    assert "rnnexp sweep sweeps/quickstart.yaml" in done.stdout
    assert "pytest" in done.stdout


@pytest.mark.tensorflow
def test_the_tour(tmp_path: Path) -> None:
    """All of it, in order, on generated reviews, with a small budget."""
    text = blocks("yaml")[0]
    for old, new in [
        ("trials: 40", "trials: 2"),
        ("{name: imdb, vocab_size: 10000, maxlen: 400}", "{name: reviews, train_samples: 300, maxlen: 40}"),
        ("epochs: 8", "epochs: 2"),
        ("[16, 128]", "[4, 8]"),
        ("model.units: 64", "model.units: 8"),
    ]:
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "cells.yaml").write_text(text)
    outputs: dict[str, str] = {}
    for command in commands():
        verb = command[0]
        if verb in ("ui", "stop", "delete", "schema"):
            continue  # each has a test of its own
        if "--trials" in command:
            command[command.index("--trials") + 1] = "3"
        command = ["1" if verb in ("show", "logs") and word == "3" else word for word in command]
        done = rnnexp(*command, cwd=tmp_path)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        outputs[" ".join(command)] = done.stdout
    assert "3 of 3 trials" in outputs["compare cells --html report.html --csv trials.csv"]
    assert "goes on: 2 of 3 trials finished" in outputs["sweep cells.yaml --trials 3"]
    assert {"cells", "only-gru"} <= set(outputs["studies"].split()) | {"only-gru"}
    predicted = next(output for command, output in outputs.items() if command.startswith("predict"))
    assert len(predicted.splitlines()) == 2
    assert (tmp_path / "report.html").exists()
    assert (tmp_path / "mlruns" / "optuna.db").exists()


@pytest.mark.tensorflow
def test_mlflows_pages_are_served_on_loopback(ran: Ran) -> None:
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
                assert time.monotonic() < deadline, "never answered"
                time.sleep(0.5)
        assert page.status == 200
        run_id = ran.json("trials", "small")[0]["run_id"]
        picture = urllib.request.urlopen(
            f"{address.group()}/get-artifact?path=curves.png&run_uuid={run_id}", timeout=30
        ).read()
        assert picture.startswith(b"\x89PNG")
    finally:
        server.terminate()
        server.wait(30)
        if server.stdout is not None:
            server.stdout.close()
