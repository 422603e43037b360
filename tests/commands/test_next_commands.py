"""The commands that are suggested after `sweep`, `train` and `export`."""

import shlex
from pathlib import Path

import pytest

from rnnexp.config.trial import DataConfig
from rnnexp.data.store import TokenStore, prepare
from rnnexp.home import Home
from rnnexp.terminal import next_commands


def prepare_texts(folder: Path, texts: list[str]) -> tuple[TokenStore, DataConfig]:
    """Prepares a file with each text often, under two labels."""
    file = folder / "mine.csv"
    rows = [f'"{text}",{index % 2}' for index, text in enumerate(texts * 40)]
    file.write_text("text,label\n" + "\n".join(rows), encoding="utf-8")
    config = DataConfig(path=str(file))
    return prepare(config, Home.open(folder / "home")), config


@pytest.mark.parametrize(
    "text", ["it's", "don't $(touch x) `touch x` \\", "\x1b[31mred\x07 text of some words", "!!!", "x" * 500]
)
def test_the_suggested_command_is_safe_to_paste(tmp_path: Path, text: str) -> None:
    store, config = prepare_texts(tmp_path, [text])
    command, _ = next_commands.predict("my bundle", store, config)
    assert command.isprintable()
    verb, bundle, example = shlex.split(command)
    assert (verb, bundle) == ("predict", "my bundle")
    assert 0 < len(example) <= 90
    assert len(example.split()) <= 12


def test_a_long_home_path_does_not_break_the_layout(capsys: pytest.CaptureFixture[str]) -> None:
    command = f"ui --home {'/very/long/path' * 30}"
    next_commands.show([(command, "open MLflow's UI")])
    title, purpose, line = capsys.readouterr().out.splitlines()
    assert (title, purpose) == ("next:", "  # open MLflow's UI")
    assert line.endswith(f" {command}")


def test_the_home_option_is_quoted_and_left_out_for_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert next_commands.home_option(Home.at("mlruns")) == ""
    assert shlex.split(next_commands.home_option(Home.at("my home"))) == ["--home", str(tmp_path / "my home")]
