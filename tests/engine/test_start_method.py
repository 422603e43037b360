"""TensorFlow's import, which a command starts first, and its end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.drill import processes

PROGRAM = """
import sys, time
from rnnexp.engine import start_method
start_method.warm_up()
start_method.cool_down()
start_method.cool_down()
start_method._PRELOAD = "rnnexp.errors"
context, _ = start_method.context()
process = context.Process(target=time.sleep, args=(0,))
process.start()
process.join()
print(process.exitcode)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc, and elsewhere there is no forkserver")
def test_a_command_that_fails_at_once_leaves_no_process_that_imports_tensorflow(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rnnexp", "sweep", str(tmp_path / "none.yaml"), "--home", str(tmp_path)]
    with (tmp_path / "output.txt").open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
        assert process.wait(60) == 2
    left = [each for each in processes.in_sessions([process.pid]) if "resource_tracker" not in each.command]
    assert not left
    assert "no such file" in (tmp_path / "output.txt").read_text()


@pytest.mark.skipif(sys.platform == "darwin", reason="there is no forkserver")
def test_a_process_starts_after_the_forkserver_was_ended() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env={**os.environ}, capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "0\n", done.stderr
