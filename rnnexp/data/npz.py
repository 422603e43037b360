"""Reads `imdb.npz` safely: only arrays of numbers and lists of integers are accepted, and only of a limited size.

The official file contains pickled object arrays. `pickles` reads them without calling anything. The sizes are checked
before memory is used: that of the file, of each unpacked array as the archive states it and as it is read, and the
number of rows and values.
"""

import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnexp.data import pickles
from rnnexp.errors import DataError, short

MAX_FILE_BYTES = 128_000_000
"""The official file has 17 million."""

MAX_ARRAY_BYTES = 64_000_000
"""Largest unpacked size of one array; those of the official file have up to 15 million."""

MAX_ROWS = 200_000
MAX_VALUES = 32_000_000
MAX_VALUE = 2**31 - 1
"""Largest value of a row: ids are numbers of four bytes."""

_BLOCK_BYTES = 1 << 20
_MAX_REASON = 200

_HEADER = re.compile(
    rb"\{'descr': '([|<>=]?[A-Za-z][0-9]{0,2})', 'fortran_order': (?:True|False), 'shape': \(([0-9L, ]{0,99})\), \} *\n"
)
_DAMAGE_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, EOFError, ValueError, TypeError, KeyError, IndexError, OverflowError),
    *(NotImplementedError, RuntimeError),  # from zipfile, if a damaged byte looks like an unknown version or encryption
    MemoryError,  # from zipfile, if the directory states a size that does not exist
)


def read(path: Path, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """Reads arrays from a `.npz` file.

    Args:
        path: the file.
        names: the arrays that it must contain.

    Returns:
        The arrays by name; the items of an object array are 1-d integer arrays.

    Raises:
        DataError: if the file is damaged or too large, or contains anything except numbers.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise DataError(f"{path}: has more than {MAX_FILE_BYTES:,} bytes; expected the IMDB data set of Keras")
        with zipfile.ZipFile(path) as archive:
            missing = [name for name in names if f"{name}.npy" not in archive.NameToInfo]
            if missing:
                raise DataError(f"{path}: does not contain {', '.join(missing)}; expected the IMDB data set of Keras")
            return {name: _array(_member(archive, f"{name}.npy"), name) for name in names}
    except pickles.PickleError as error:
        raise DataError(f"{path}: refused: {error}; expected only arrays and lists of whole numbers") from None
    except _DAMAGE_ERRORS as error:
        reason = short(" ".join(str(error).split()) or "truncated", _MAX_REASON)
        raise DataError(f"{path}: damaged ({reason}); download it again") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Returns the unpacked content of one file of the archive."""
    entry = archive.getinfo(name)
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is packed by a method that np.savez does not use")
    if entry.file_size > MAX_ARRAY_BYTES:
        raise ValueError(f"{name} has {entry.file_size:,} bytes, expected at most {MAX_ARRAY_BYTES:,}")
    with archive.open(entry) as file:
        # `zipfile` stops at the size that the archive states. In one call, it would first unpack up to a gigabyte.
        return b"".join(iter(lambda: file.read(_BLOCK_BYTES), b""))


def _array(content: bytes, name: str) -> NDArray[Any]:
    header_bytes = {b"\x93NUMPY\x01\x00": 2, b"\x93NUMPY\x02\x00": 4}.get(content[:8])
    if header_bytes is None:
        raise ValueError(f"{name} is not a NumPy array")
    start = 8 + header_bytes
    end = start + int.from_bytes(content[8:start], "little")
    header = _HEADER.fullmatch(content, start, end)
    if header is None:
        raise ValueError(f"{name} has no header that np.savez writes")
    kind = header[1].decode()
    shape = [int(size.strip(" L")) for size in header[2].decode().split(",") if size.strip()]
    if len(shape) != 1:
        raise ValueError(f"{name} is not a 1-d array")
    if shape[0] > MAX_ROWS:
        raise ValueError(f"{name} has {shape[0]:,} rows, expected at most {MAX_ROWS:,}")
    if kind.lstrip("|") == "O":
        return _rows(pickles.load(content, end), shape[0], name)
    if not re.fullmatch(r"[|<>][iu][1248]", kind):
        raise ValueError(f"{name} contains {kind}, expected whole numbers")
    values = np.frombuffer(memoryview(content)[end:], np.dtype(kind))
    if len(values) != shape[0]:
        raise ValueError(f"{name} has {len(values)} values, expected {shape[0]}")
    return values


def _rows(value: Any, length: int, name: str) -> NDArray[Any]:
    """Returns an array of arrays: the rows of a pickled array of lists."""
    try:
        items = value.items() if isinstance(value, pickles.PickledArray) else None
    except pickles.PickleError as error:
        raise ValueError(f"{name} is {error}") from None
    if items is None or len(items) != length:
        raise ValueError(f"{name} is not a 1-d array of {length} rows")
    if sum(pickles.size(item) for item in items) > MAX_VALUES:
        raise ValueError(f"{name} has more than {MAX_VALUES:,} values")
    rows = np.empty(length, dtype=object)
    for index, item in enumerate(items):
        try:
            row = pickles.numbers(item)
        except pickles.PickleError as error:
            raise ValueError(f"{name}[{index}] is {error}") from None
        if row.size and int(row.view(np.uint64).max()) > MAX_VALUE:  # a negative number is a large one, too
            raise ValueError(f"{name}[{index}] is not a list of whole numbers from 0 to {MAX_VALUE:,}")
        rows[index] = row
    return rows
