"""A logged model in an environment that has only what its requirements install: no copy of this program."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Ran, rnnexp

pytestmark = [pytest.mark.tensorflow, pytest.mark.slow]

TEXTS = ["the plot was superb .", "the cast was dull ."]
CODE = """
import importlib.metadata, json, sys
import mlflow
model = mlflow.pyfunc.load_model(sys.argv[1])
found = [[one.label, one.probability] for one in model.predict(json.loads(sys.argv[2]))]
print(json.dumps({"found": found, "packages": [one.name for one in importlib.metadata.distributions()]}))
"""


def test_it_labels_raw_text(ran: Ran, tmp_path: Path) -> None:
    (version,) = (ran.home / "artifacts" / "small" / "models").iterdir()
    model, python = version / "artifacts", tmp_path / "venv" / "bin" / "python"
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--requirement", "requirements.txt"]
    subprocess.run(install, cwd=model, env=environment, check=True, timeout=900)  # MLflow does it in the same folder
    done = subprocess.run(
        [str(python), "-W", "ignore", "-c", CODE, str(model), json.dumps(TEXTS)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert "optuna" not in {name.lower() for name in answer["packages"]}, "only what a prediction needs is installed"
    predicted = rnnexp("predict", str(ran.home / "work" / "small" / "best"), *TEXTS, "--json")
    expected = [[one["label"], one["probability"]] for one in json.loads(predicted.stdout)]
    assert [label for label, _ in answer["found"]] == [label for label, _ in expected]
    assert [p for _, p in answer["found"]] == pytest.approx([p for _, p in expected], abs=1e-5)
