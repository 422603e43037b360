"""Loads sweep files that a test writes."""

import textwrap
from pathlib import Path
from typing import Any

import pytest

from rnnexp.config.load import load_sweep
from rnnexp.config.sweep import SweepConfig
from rnnexp.errors import ConfigError

HEAD = "study: cells\nbudget: {trials: 4}\n"


def load(folder: Path, text: str, assignments: dict[str, Any] | None = None) -> SweepConfig:
    path = folder / "sweep.yaml"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return load_sweep(path, assignments)


def faults_of(folder: Path, text: str, assignments: dict[str, Any] | None = None) -> list[str]:
    """Returns the faults of a file; each must be one line that names the file."""
    with pytest.raises(ConfigError) as caught:
        load(folder, text, assignments)
    source = f"{folder / 'sweep.yaml'}: "
    lines = str(caught.value).splitlines()
    assert all(line.startswith(source) for line in lines)
    faults = [line.removeprefix(source) for line in lines]
    assert faults == list(caught.value.faults)
    return faults
