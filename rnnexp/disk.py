"""What every room needs of the disk: files that are whole or not there, and the knowledge that it is full."""

import errno
import hashlib
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WRITING = "writing-"
"""The beginning of the name of a file that is not whole yet; what a killed process leaves can be told by it."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FULL_IN_WORDS = re.compile(
    "No space left on device|database or disk is full|Disk quota exceeded"
    r"|\d+ requested and \d+ written"  # NumPy's
)


def is_full(error: BaseException) -> bool:
    """Tells whether an exception, or one that led to it, says that there is no space left."""
    # Libraries' own exceptions keep only the words.
    return any(
        (isinstance(one, OSError) and one.errno in _FULL) or _FULL_IN_WORDS.search(str(one)) for one in _chain(error)
    )


def is_locked(error: BaseException) -> bool:
    """Tells whether an exception, or one that led to it, says that somebody else holds a database for too long."""
    return any("database is locked" in str(one) for one in _chain(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in seen:
        seen.append(following)
        yield following
        following = following.__cause__ or following.__context__


def free_bytes(path: Path) -> int:
    """Returns the space that is left where a file or folder lies, or would lie."""
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    return shutil.disk_usage(there).free


def zip_fault(path: Path) -> str | None:
    """Returns what is wrong with a file made of checksummed parts (`.npz`, `.keras`), None where it is whole."""
    try:
        with zipfile.ZipFile(path) as parts:
            damaged = parts.testzip()
    except (OSError, zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, zlib.error) as error:
        return str(error) or type(error).__name__
    return f"{damaged} does not have its checksum" if damaged else None


def file_hash(path: Path, algorithm: str = "sha256") -> str:
    """Returns the digest of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a place to write a file anew; on leaving, it is brought to the disk and takes the old one's place.

    Where the block raises, the old file stays and nothing else does.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(WRITING + path.name)
    try:
        yield beside
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    except Exception:
        beside.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Writes a file that is there whole or as it was."""
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")
