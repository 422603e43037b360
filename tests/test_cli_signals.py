"""SIGTERM and SIGHUP end a command as Ctrl-C does: it removes its temporary files."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import sys, time
from pathlib import Path
from rnnexp import disk
from rnnexp.commands import studies
from rnnexp.cli import main

def run(args):
    with disk.replacing(Path(sys.argv[1]) / "out") as beside:
        beside.touch()
        print("ready", flush=True)
        time.sleep(60)

studies.run = run
sys.exit(main(["studies"]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_command_that_is_ended_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    # A job in the background ignores SIGINT, one of `nohup` SIGHUP; the program of the test must not inherit that.
    start = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        f"signal.signal(signal.SIGHUP, signal.SIG_DFL)\n{_PROGRAM}"
    )
    command = [sys.executable, "-c", start, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.wait(30) == 128 + number
        assert process.stderr.read() == ("interrupted\n" if number == signal.SIGINT else "")
    assert list(tmp_path.iterdir()) == []


def test_a_signal_that_nohup_ignores_stays_ignored(tmp_path: Path) -> None:
    start = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n{_PROGRAM}"
    with subprocess.Popen([sys.executable, "-c", start, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.terminate()
        assert process.wait(30) == 143
