import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnexp.data import npz
from rnnexp.errors import DataError


def _objects(*items: Any) -> "np.ndarray[Any, np.dtype[Any]]":
    array = np.empty(len(items), dtype=object)
    for index, item in enumerate(items):
        array[index] = item
    return array


def _write(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


class _Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_arrays_and_lists_of_whole_numbers_are_read(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.npz", x=_objects([1, 22, 3], [], [70_000]), y=np.array([0, 1, 0]), z=np.zeros(2))
    arrays = npz.read(path, ("x", "y"))
    assert [row.tolist() for row in arrays["x"]] == [[1, 22, 3], [], [70_000]]
    assert arrays["y"].tolist() == [0, 1, 0]
    assert set(arrays) == {"x", "y"}


def test_a_compressed_file_and_inner_arrays_are_read(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=_objects(np.array([1, 2]), np.array([3])))
    assert [row.tolist() for row in npz.read(tmp_path / "a.npz", ("x",))["x"]] == [[1, 2], [3]]


def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path: Path) -> None:
    trap = tmp_path / "was-run"
    path = _write(tmp_path / "a.npz", x=_objects([1], _Touch(trap)))
    with pytest.raises(DataError, match=r"a\.npz: refused: the pickle names (posix|nt)\.mkdir"):
        npz.read(path, ("x",))
    assert not trap.exists()
    np.load(path, allow_pickle=True)["x"]
    assert trap.is_dir(), "the file is harmless: the test would pass for any reader"


@pytest.mark.parametrize("item", [Path("x"), np.float64(1.0), {1: Exception()}])
def test_objects_of_other_kinds_are_refused(tmp_path: Path, item: Any) -> None:
    with pytest.raises(DataError):
        npz.read(_write(tmp_path / "a.npz", x=_objects([1], item)), ("x",))


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ([1.5, 2.0], r"x\[1\] is not a list of whole numbers"),
        ([[1, 2], [3, 4]], r"x\[1\] is not a list of whole numbers"),
        ([[1, 2], [3]], "damaged"),
        ([1, -2], r"x\[1\] is not a list of whole numbers"),
        (["one"], r"x\[1\] is not a list of whole numbers"),
        ([True], r"x\[1\] is not a list of whole numbers"),
        (7, r"x\[1\] is not a list of whole numbers"),
        (None, r"x\[1\] is not a list of whole numbers"),
        ("words", r"x\[1\] is not a list of whole numbers"),
        ([2**70], r"x\[1\] is not a list of whole numbers"),
    ],
)
def test_rows_that_are_not_lists_of_whole_numbers_are_refused(tmp_path: Path, item: Any, words: str) -> None:
    path = _write(tmp_path / "a.npz", x=_objects([1], item))
    with pytest.raises(DataError, match=words):
        npz.read(path, ("x",))


def test_an_array_of_floats_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="y contains float64, expected whole numbers"):
        npz.read(_write(tmp_path / "a.npz", y=np.array([0.0, 1.0])), ("y",))


def test_a_table_of_objects_is_refused(tmp_path: Path) -> None:
    table = np.array([[1, None]], dtype=object)
    with pytest.raises(DataError, match="x is not a 1-d array"):
        npz.read(_write(tmp_path / "a.npz", x=table), ("x",))


def test_a_pickle_that_is_not_an_array_is_refused(tmp_path: Path) -> None:
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", head.getvalue() + pickle.dumps([[1]]))
    with pytest.raises(DataError, match="x is not a 1-d array"):
        npz.read(tmp_path / "a.npz", ("x",))


def test_missing_arrays_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not contain y, z; expected the IMDB data set"):
        npz.read(_write(tmp_path / "a.npz", x=np.array([1])), ("x", "y", "z"))


def test_a_missing_file_and_a_file_that_is_not_an_archive_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.npz: cannot be read"):
        npz.read(tmp_path / "gone.npz", ("x",))
    (tmp_path / "a.npz").write_bytes(b"<html>404</html>")
    with pytest.raises(DataError, match=r"a\.npz: damaged .*download it again"):
        npz.read(tmp_path / "a.npz", ("x",))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Path]:
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    _write(path, x=_objects([1, 2], [3]), y=np.array([0, 1]))
    return path.read_bytes(), path


def _read_or_refuse(path: Path) -> bool:
    """Tells whether the file was refused; other errors are not caught."""
    try:
        npz.read(path, ("x", "y"))
    except DataError:
        return True
    return False


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_a_truncated_file_is_refused(sound: tuple[bytes, Path], data: st.DataObject) -> None:
    content, path = sound
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    assert _read_or_refuse(path)


def test_a_changed_byte_is_refused_or_without_effect(sound: tuple[bytes, Path]) -> None:
    """Changes every byte of the archive's directory, and of the header of one array."""
    content, path = sound
    start = content.index(b"PK\x01\x02")
    places = [*range(start, len(content)), *range(60)]
    refused = 0
    for place in places:
        for value in (0x00, 0xFF, content[place] ^ 0x01):
            path.write_bytes(content[:place] + bytes([value]) + content[place + 1 :])
            refused += _read_or_refuse(path)
    assert refused > len(places) // 2
