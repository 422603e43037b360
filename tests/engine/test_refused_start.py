"""Processes that the environment does not let start: `submit` raises `OSError`, and a later one succeeds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
import time
from pathlib import Path

from rnnexp.config.trial import TrialConfig
from rnnexp.engine import local, start_method
from rnnexp.engine.executor import Exited
from rnnexp.home import TrialFolder
from rnnexp.trial.job import Place, TrialJob

if __name__ == "__main__":
    root = Path(sys.argv[1])
    start_method._PRELOAD = "preloaded_here"
    executor = local.LocalExecutor(1)
    job, place = TrialJob(0, TrialConfig(), 1, "s"), Place(TrialFolder(root / "trial"), root / "nowhere")
    for attempt in range(200):
        try:
            executor.submit(job, place)
            break
        except OSError as error:
            print("refused", flush=True)
        if attempt == 1:
            (root / "preloaded_here.py").write_text("")
        time.sleep(0.1)  # the forkserver that fails may still be ending
    messages = []
    while not any(isinstance(message, Exited) for message in messages):
        messages += [message for _, message in executor.poll(5.0)]
    print(type(messages[0]).__name__, flush=True)
"""


@pytest.mark.skipif(sys.platform == "darwin", reason="there is no forkserver")
def test_a_forkserver_whose_imports_fail_refuses_a_start_and_works_once_they_succeed(tmp_path: Path) -> None:
    (tmp_path / "preloaded_here.py").write_text("raise RuntimeError('no locator available')\n")
    (tmp_path / "program.py").write_text(PROGRAM)
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(
        [sys.executable, "-B", str(tmp_path / "program.py"), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    lines = done.stdout.split()
    assert lines[:2] == ["refused", "refused"], done.stderr
    assert lines[-1] == "Failed", done.stderr
