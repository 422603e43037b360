"""A full disk: a small file system, mounted if that is allowed."""

import json
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import SWEEP, rnnexp

pytestmark = pytest.mark.tensorflow


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mounts a file system of 64 MB."""
    where = tmp_path / "disk"
    where.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(where)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("file systems cannot be mounted here")
    try:
        yield where
    finally:
        subprocess.run(["umount", "-l", str(where)], check=True)


def test_a_disk_that_becomes_full_during_a_sweep(small_disk: Path, tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text(SWEEP.replace("epochs: 2", "epochs: 6"))
    command = ("sweep", str(file), "--home", str(small_disk / "home"), "--workers", "2")
    folder = small_disk / "home" / "work" / "small" / "trials" / "00000"

    def fill() -> None:
        while not (folder / "state.npz").exists():
            time.sleep(0.05)
        with (small_disk / "filler").open("wb", buffering=0) as filler:  # nothing is left to be written at its end
            try:
                while True:
                    filler.write(b"0" * 2**16)
            except OSError:
                return

    filling = threading.Thread(target=fill)
    filling.start()
    full = rnnexp(*command)
    filling.join()
    assert full.returncode == 1, full.stdout + full.stderr
    assert full.stderr.count("\n") == 1, full.stderr
    assert "the disk is full" in full.stderr
    assert "run the same command to resume" in full.stderr

    (small_disk / "filler").unlink()
    done = rnnexp(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(rnnexp("trials", "small", "--json", "--home", str(small_disk / "home")).stdout)
    assert [row["state"] for row in rows] == ["COMPLETE"] * 3


def test_a_disk_that_is_full_before_the_sweep(small_disk: Path, tmp_path: Path) -> None:
    with (small_disk / "filler").open("wb") as filler:
        filler.write(b"0" * (64 * 2**20 - 8192))
    file = tmp_path / "sweep.yaml"
    file.write_text(SWEEP)
    full = rnnexp("sweep", str(file), "--home", str(small_disk / "home"))
    assert full.returncode == 1, full.stdout + full.stderr
    assert full.stderr.count("\n") == 1, full.stderr
    assert "the disk is full" in full.stderr
