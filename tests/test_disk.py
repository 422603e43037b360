"""Atomic writes, checksums, and the messages of a full disk."""

import errno
import sqlite3
import zipfile
from pathlib import Path

import numpy as np
import pytest

from rnnexp import disk


def test_a_locked_database_is_recognised() -> None:
    assert disk.is_locked(sqlite3.OperationalError("database is locked"))
    assert not disk.is_locked(sqlite3.OperationalError("no such table"))


def _chained() -> BaseException:
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left")
        except OSError as error:
            raise RuntimeError("could not save") from error
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "whatever"), True),
        (OSError(errno.EDQUOT, "whatever"), True),
        (OSError("1412908 requested and 2016 written"), True),
        (sqlite3.OperationalError("database or disk is full"), True),
        (_chained(), True),
        (OSError(errno.EACCES, "Permission denied"), False),
        (ValueError("5 requested"), False),
    ],
)
def test_the_messages_of_a_full_disk_are_recognised(error: BaseException, full: bool) -> None:
    assert disk.is_full(error) == full


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no device that is always full")
def test_the_message_of_numpy_is_recognised() -> None:
    with Path("/dev/full").open("wb", buffering=0) as file, pytest.raises(OSError) as raised:
        np.save(file, np.zeros(100_000))
    assert disk.is_full(raised.value)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a" / "file.txt"
    disk.write_text(path, "old")
    with pytest.raises(ValueError), disk.replacing(path) as beside:
        beside.write_text("ne")
        raise ValueError
    assert path.read_text() == "old"
    assert [each.name for each in path.parent.iterdir()] == ["file.txt"]
    disk.write_text(path, "new")
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_folder_replaces_the_old_one_whole_or_not_at_all(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "a" / "folder"
    for content in ("old", "new"):
        with disk.replacing_folder(path) as beside:
            (beside / content).write_text(content)
        assert [each.name for each in path.iterdir()] == [content]
        assert path.stat().st_mode & 0o777 == 0o755
    with pytest.raises(error), disk.replacing_folder(path) as beside:
        (beside / "half").write_text("")
        raise error
    assert [each.name for each in path.iterdir()] == ["new"]
    assert [each.name for each in path.parent.iterdir()] == ["folder"]


def test_a_changed_byte_is_found(tmp_path: Path) -> None:
    path = tmp_path / "arrays.npz"
    np.savez(path, a=np.arange(1000.0))
    assert disk.zip_fault(path) is None
    whole = path.read_bytes()
    for damaged in (whole[:-100], whole[: len(whole) // 2], b"", whole[:3000] + b"?" + whole[3001:]):
        path.write_bytes(damaged)
        assert disk.zip_fault(path), len(damaged)
    path.unlink()
    assert disk.zip_fault(path)
    with zipfile.ZipFile(path, "w"):
        pass
    assert disk.zip_fault(path) is None


def test_the_free_space_of_a_path_that_does_not_exist_yet(tmp_path: Path) -> None:
    assert disk.free_bytes(tmp_path / "a" / "b") > 0
