"""Atomic writes, checksums, and the messages of a full disk."""

import errno
import fcntl
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
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


def _synced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Returns a list to which the names of flushed files and folders, and of renamed files, are added."""
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def record_fsync(descriptor: int) -> None:
        steps.append(f"flush {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        fsync(descriptor)

    def record_replace(path: Path, target: Path) -> Path:
        steps.append(f"rename {path.name}")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(Path, "replace", record_replace)
    return steps


@pytest.mark.skipif(sys.platform != "linux", reason="the names of open files are read in /proc")
def test_a_rename_is_flushed_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = _synced(monkeypatch)
    disk.write_text(tmp_path / "new" / "folder" / "file.txt", "a")
    created = ["flush new", f"flush {tmp_path.name}"]
    assert steps == [*created, "flush writing-file.txt", "rename writing-file.txt", "flush folder"]
    steps.clear()
    disk.write_text(tmp_path / "new" / "folder" / "file.txt", "b")
    assert steps == ["flush writing-file.txt", "rename writing-file.txt", "flush folder"]
    steps.clear()
    with disk.replacing_folder(tmp_path / "whole") as beside:
        (beside / "inside").mkdir()
        (beside / "inside" / "file.txt").write_text("a")
        name = beside.name
    assert steps == ["flush " + name, "flush file.txt", "flush inside", f"rename {name}", f"flush {tmp_path.name}"]


def test_a_file_system_that_cannot_flush_folders_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(code, "as on some network file systems")

    monkeypatch.setattr(disk, "flush", refuse)
    code = errno.EINVAL
    disk.flush_folder(tmp_path)
    code = errno.EIO
    with pytest.raises(OSError, match="network"):
        disk.flush_folder(tmp_path)


def test_macos_flushes_the_cache_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, int]] = []
    supported = True

    def full_sync(descriptor: int, command: int) -> None:
        if not supported:
            raise OSError(errno.ENOTSUP, "not supported")
        calls.append(("full", command))

    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", full_sync)
    monkeypatch.setattr(os, "fsync", lambda descriptor: calls.append(("plain", 0)))
    with (tmp_path / "file").open("w") as file:
        disk.flush(file.fileno())
        supported = False
        disk.flush(file.fileno())
    assert calls == [("full", 51), ("plain", 0)]


_REPLACE = """
import os, signal, sys
from pathlib import Path
from rnnexp import disk
if sys.argv[3] == "renames":
    disk._exchange = lambda one, other: False
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job starts with it ignored
steps = 0
def trace(frame, event, argument):
    # Every line of the function and of those that it calls is a place where the process may be killed.
    global steps
    if event == "line" and frame.f_code.co_filename == disk.__file__:
        steps += 1
        if steps == int(sys.argv[2]):
            os.kill(os.getpid(), getattr(signal, sys.argv[4]))
    return trace
path = Path(sys.argv[1])
try:
    with disk.replacing_folder(path) as beside:
        (beside / "new").write_text("new")
        sys.settrace(trace)
finally:
    sys.settrace(None)
    if steps < int(sys.argv[2]):
        print("completed")
"""


@pytest.mark.integration
@pytest.mark.parametrize("how", ["exchange", "renames"])
@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT"])
def test_a_killed_replacement_leaves_the_old_or_the_new_folder(tmp_path: Path, how: str, name: str) -> None:
    """The process is killed at each line, one after another, until it completes."""
    if how == "exchange" and not _can_exchange(tmp_path):
        pytest.skip("the file system cannot exchange folders")
    path = tmp_path / "bundle"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    contents = set()
    for step in range(1, 200, 3 if name == "SIGINT" else 2):
        shutil.rmtree(tmp_path)
        path.mkdir(parents=True)
        (path / "old").write_text("old")
        command = [sys.executable, "-c", _REPLACE, str(path), str(step), how, name]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.stdout == "completed\n":
            break
        assert done.returncode == -getattr(signal, name), done.stderr
        if how == "exchange" or name == "SIGINT":
            assert path.is_dir(), f"step {step}: nothing is left"
        disk.recover_folder(path)
        content = [each.name for each in path.iterdir()]
        assert content in (["old"], ["new"]), step
        contents.update(content)
        with disk.replacing_folder(path) as beside:
            (beside / "newest").write_text("")
        assert [each.name for each in path.iterdir()] == ["newest"]
    else:
        raise AssertionError("it never completed")
    assert contents == {"old", "new"}


def _can_exchange(folder: Path) -> bool:
    for name in ("one", "other"):
        (folder / name).mkdir()
    return disk._exchange(folder / "one", folder / "other")


def test_a_file_that_the_user_has_named_is_written_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    with disk.writing(tmp_path / "link") as beside:
        beside.write_text("new")
        assert (tmp_path / "target").read_text() == "old"
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"
    with disk.writing(Path("/dev/null")) as path:
        path.write_text("nothing")
    assert not Path("/dev/null").is_file()
    long = tmp_path / ("x" * 255)
    with disk.writing(long) as beside:
        beside.write_text("new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "target", long.name]
