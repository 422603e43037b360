"""The supervisor's memory does not grow from trial to trial."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import SWEEP

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc"),
]


def test_the_memory_after_sixty_trials(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(SWEEP.replace("trials: 3", "trials: 60"))
    process = subprocess.Popen(
        [sys.executable, "-m", "rnnexp", "sweep", str(file), "--home", str(tmp_path / "home"), "--workers", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    resident_mb: list[float] = []
    for line in process.stdout:
        if re.match(r"trial \d+ COMPLETE", line):
            status = Path(f"/proc/{process.pid}/status").read_text()
            resident_mb.append(int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) / 1024)
    process.stdout.close()
    assert process.wait() == 0
    assert len(resident_mb) == 60
    print(f"resident: {resident_mb[9]:.0f} MB after 10 trials, {resident_mb[59]:.0f} MB after 60")
    assert resident_mb[59] <= 1.1 * resident_mb[9]
