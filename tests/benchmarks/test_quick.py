"""Every benchmark runs; its figures mean nothing here."""

import subprocess
from pathlib import Path

import pytest

from tests.benchmarks.harness import python_command


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.imdb
@pytest.mark.parametrize("name", ["trial_cost", "scale", "slots", "peak", "startup", "ends", "certainty"])
def test_it_runs(name: str, tmp_path: Path) -> None:
    command = python_command("-m", "tests.benchmarks", "--quick", "--only", name, "--state", str(tmp_path))
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=600)
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode in (0, 1), done.stderr
    assert "not run" not in done.stdout
    assert (tmp_path / f"{name}.json").exists()
