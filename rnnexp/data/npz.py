"""Reads `imdb.npz` safely: only arrays of numbers and lists of integers are accepted.

The official file contains pickled object arrays, and a pickle can run any code. This reader allows only the names that
rebuild a NumPy array. It rejects every other name before anything is called.
"""

import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from rnnexp.errors import DataError

_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
}
_DAMAGE_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, EOFError, ValueError, TypeError, KeyError, IndexError, OverflowError),
    *(
        NotImplementedError,
        RuntimeError,
    ),  # from zipfile, if a damaged byte looks like an unknown version or an encryption
)


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"the pickle names {module}.{name}")
        return super().find_class(module, name)


def read(path: Path, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """Reads arrays from a `.npz` file.

    Args:
        path: the file.
        names: the arrays that it must contain.

    Returns:
        The arrays by name; the items of an object array are 1-d integer arrays.

    Raises:
        DataError: if the file is damaged, or contains anything except numbers.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            missing = [name for name in names if f"{name}.npy" not in archive.namelist()]
            if missing:
                raise DataError(f"{path}: does not contain {', '.join(missing)}; expected the IMDB data set of Keras")
            return {name: _array(archive, name) for name in names}
    except pickle.UnpicklingError as error:
        raise DataError(f"{path}: refused: {error}; expected only arrays and lists of whole numbers") from None
    except _DAMAGE_ERRORS as error:
        raise DataError(f"{path}: damaged ({' '.join(str(error).split()) or 'truncated'}); download it again") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def _array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    with archive.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        _, _, dtype = header(file)
        if not dtype.hasobject:
            with archive.open(f"{name}.npy") as content:
                plain: NDArray[Any] = np.lib.format.read_array(content, allow_pickle=False)
            if plain.dtype.kind not in "iu":
                raise ValueError(f"{name} contains {plain.dtype}, expected whole numbers")
            return plain
        value = _ArraysOnly(cast(Any, file)).load()
    if not isinstance(value, np.ndarray) or value.ndim != 1:
        raise ValueError(f"{name} is not a 1-d array")
    rows = np.empty(len(value), dtype=object)
    for index, item in enumerate(value):
        row = np.asarray(item)
        if row.ndim != 1 or (row.size and row.dtype.kind not in "iu") or (row.size and int(row.min()) < 0):
            raise ValueError(f"{name}[{index}] is not a list of whole numbers")
        rows[index] = row.astype(np.int64)
    return rows
