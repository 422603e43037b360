"""What libraries write to standard error is discarded, also if the blocks of two threads overlap."""

import os
import threading
from pathlib import Path

import pytest

from rnnexp import quiet

_DESCRIPTORS = Path("/proc/self/fd")


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return tmp_path / "stderr"


def test_overlapping_blocks_restore_standard_error(written: Path) -> None:
    before = os.dup(2)
    target = os.open(written, os.O_WRONLY | os.O_CREAT)
    os.dup2(target, 2)
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with quiet.standard_error():
            entered.set()
            leave.wait(20)
            os.write(2, b"discarded, too;")

    try:
        thread = threading.Thread(target=other)
        with quiet.standard_error():
            thread.start()
            assert entered.wait(20)
            os.write(2, b"discarded;")
        leave.set()
        thread.join()
        os.write(2, b"shown")
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(target)
    assert written.read_bytes() == b"shown"


def test_an_exception_restores_standard_error(written: Path) -> None:
    open_before = len(list(_DESCRIPTORS.iterdir())) if _DESCRIPTORS.exists() else 0
    for _ in range(3):
        with pytest.raises(ValueError, match="x"), quiet.standard_error():
            raise ValueError("x")
    if open_before:
        assert len(list(_DESCRIPTORS.iterdir())) == open_before
