"""Atomic writes, file hashes, and the recognition of a full disk; every package uses them.

A file or folder is written under a temporary name next to its final place, then renamed. A reader sees the old or the
new content, never a part of it. The content and the new name are flushed to the disk, so that they survive a power
failure, as far as the file system and the disk keep what they confirm.
"""

import ctypes
import errno
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WRITING = "writing-"
"""Prefix of the name of an incomplete file; it identifies the files that a killed process has left."""

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
"""Constants of Linux: the paths of `renameat2` are relative to the working folder; it exchanges them."""

_CANNOT_FLUSH_FOLDER = (errno.EINVAL, errno.ENOTSUP, errno.EACCES)
"""Errors of file systems that do not flush folders, and of a folder that may be written to but not read."""

_FULL_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT)
_FULL_DISK_MESSAGE = re.compile(
    "No space left on device|database or disk is full|Disk quota exceeded"
    r"|\d+ requested and \d+ written"  # NumPy's
)


def is_full(error: BaseException) -> bool:
    """Tells whether an exception, or one of its causes, reports a full disk."""
    # The exceptions of some libraries keep only the message.
    return any(
        (isinstance(each, OSError) and each.errno in _FULL_DISK_ERRORS) or _FULL_DISK_MESSAGE.search(str(each))
        for each in chain(error)
    )


def has_cause(error: BaseException, kinds: tuple[type[BaseException], ...]) -> bool:
    """Tells whether an exception, or one of its causes, is of one of these kinds."""
    return any(isinstance(each, kinds) for each in chain(error))


def is_locked(error: BaseException) -> bool:
    """Tells whether an exception, or one of its causes, reports that another process has a database locked."""
    return any("database is locked" in str(each) for each in chain(error))


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yields an exception, and the exceptions that led to it; the first one last."""
    seen: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and not any(following is each for each in seen):
        seen.append(following)
        yield following
        following = following.__cause__ or following.__context__


def free_bytes(path: Path) -> int:
    """Returns the free bytes of the disk of a file or folder; the path need not exist yet."""
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    return shutil.disk_usage(existing).free


_ARCHIVE_ERRORS = (zipfile.BadZipFile, EOFError, ValueError, RuntimeError, OverflowError, struct.error, zlib.error)
"""The exceptions of `zipfile` for damaged content. A `RuntimeError` means that a damaged flag demands a password."""


def is_damage(error: OSError) -> bool:
    """Tells whether an error of reading an archive means that it is damaged, and not that it cannot be read now."""
    return error.errno == errno.EINVAL  # a damaged offset leads to an impossible place in the file


def zip_fault(path: Path) -> str | None:
    """Returns what is wrong with a ZIP file (`.npz`, `.keras`), or None if every part has its checksum.

    Raises:
        OSError: if the file cannot be read now, for example because too many files are open. This says nothing about
            its content.
    """
    try:
        with zipfile.ZipFile(path) as parts:
            damaged = parts.testzip()
    except FileNotFoundError:
        return "it is missing"
    except OSError as error:
        if not is_damage(error):
            raise
        return str(error)
    except _ARCHIVE_ERRORS as error:
        return str(error) or type(error).__name__
    return f"{damaged} does not have its checksum" if damaged else None


def file_hash(path: Path, algorithm: str = "sha256") -> str:
    """Returns the digest of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def flush(descriptor: int) -> None:
    """Flushes an open file or folder to the disk."""
    # On macOS, `fsync` leaves the data in the cache of the disk.
    full_sync = getattr(fcntl, "F_FULLFSYNC", None)
    if full_sync is not None:
        try:
            fcntl.fcntl(descriptor, full_sync)
            return
        except OSError:  # the file system does not support it
            pass
    os.fsync(descriptor)


def flush_folder(folder: Path) -> None:
    """Flushes the names in a folder to the disk: after this, a rename in it survives a power failure."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            flush(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_FLUSH_FOLDER:
            raise


def make_folder(folder: Path) -> None:
    """Creates a folder and its missing parents, and flushes their names to the disk."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for each in missing:
        flush_folder(each.parent)


def append_line(path: Path, text: str) -> None:
    """Appends one line, on a new line even after an incomplete one, and flushes it to the disk."""
    make_folder(path.parent)
    line = text.encode() + b"\n"
    with path.open("ab+") as file:
        is_new = not file.tell()
        if not is_new:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                line = b"\n" + line
        file.write(line)
        file.flush()
        flush(file.fileno())
    if is_new:
        flush_folder(path.parent)


@contextmanager
def replacing(path: Path, beside: Path | None = None) -> Iterator[Path]:
    """Yields a temporary path; at the end of the block its file is flushed to the disk and replaces the old file.

    If the block raises, the temporary file is removed and the old file stays.

    Args:
        path: of the file.
        beside: the temporary path, in the same folder. By default it always has the same name, so that killed processes
            leave one file at most.
    """
    make_folder(path.parent)
    beside = beside or path.with_name(WRITING + path.name)
    try:
        yield beside
        with beside.open("rb") as file:
            flush(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yields the path to write, for a file that the user has named: others may write it, too.

    The file is replaced at the end, as in `replacing`; if it is a link, the one that it leads to. A pipe or a device is
    written itself.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    path = Path(os.path.realpath(path))
    with replacing(path, path.with_name(f"{WRITING}{secrets.token_hex(8)}")) as beside:
        yield beside


def folder_beside(path: Path) -> Path:
    """Creates an empty temporary folder next to `path`; `replace_folder` later renames it to `path`."""
    make_folder(path.parent)
    beside = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    beside.chmod(0o755)
    return beside


def replace_folder(beside: Path, path: Path) -> None:
    """Flushes a complete folder to the disk and renames it to `path`; an older folder there is removed afterwards.

    If this process ends in between, `path` is the old or the new folder; or, where the file system cannot exchange two
    folders, `recover_folder` renames the old one back.
    """
    for folder, _, names in os.walk(beside):
        for name in names:
            with Path(folder, name).open("rb") as file:
                flush(file.fileno())
        flush_folder(Path(folder))
    recover_folder(path)
    old = _swap(beside, path) if path.exists() else None
    if old is None:
        beside.replace(path)
    flush_folder(path.parent)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def recover_folder(path: Path) -> None:
    """Completes a replacement of the folder `path` that was interrupted, if there was one."""
    old = _renamed_aside(path)
    if old.is_dir():
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(path)


def _swap(beside: Path, path: Path) -> Path:
    """Moves the new folder to `path`; returns where the old one is now."""
    if _exchange(beside, path):
        return beside
    old = _renamed_aside(path)
    try:
        path.rename(old)
        beside.rename(path)
    except BaseException:
        recover_folder(path)
        raise
    return old


def _renamed_aside(path: Path) -> Path:
    return path.with_name(f".{path.name}-replaced")


def _exchange(one: Path, other: Path) -> bool:
    """Exchanges two folders in one step; returns False where the system or the file system cannot do that."""
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)  # of Linux
    names = [os.fsencode(path) for path in (one, other)]
    return renameat2 is not None and renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yields a temporary folder, which replaces the folder `path` at the end of the block.

    If the block raises, the temporary folder is removed and the old folder stays.
    """
    beside = folder_beside(path)
    try:
        yield beside
        replace_folder(beside, path)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")
