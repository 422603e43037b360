import io
import os
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnexp.data import npz
from rnnexp.errors import DataError
from tests.data.npz_files import objects, read_in_a_process, write, write_pickle


class _Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_arrays_and_lists_of_whole_numbers_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", x=objects([1, 22, 3], [], [70_000]), y=np.array([0, 1, 0]), z=np.zeros(2))
    arrays = npz.read(path, ("x", "y"))
    assert [row.tolist() for row in arrays["x"]] == [[1, 22, 3], [], [70_000]]
    assert arrays["y"].tolist() == [0, 1, 0]
    assert set(arrays) == {"x", "y"}


def test_a_compressed_file_and_inner_arrays_are_read(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=objects(np.array([1, 2]), np.array([3])))
    assert [row.tolist() for row in npz.read(tmp_path / "a.npz", ("x",))["x"]] == [[1, 2], [3]]


def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path: Path) -> None:
    trap = tmp_path / "was-run"
    path = write(tmp_path / "a.npz", x=objects([1], _Touch(trap)))
    with pytest.raises(DataError, match=r"a\.npz: refused: the pickle names (posix|nt)\.mkdir"):
        npz.read(path, ("x",))
    assert not trap.exists()
    np.load(path, allow_pickle=True)["x"]
    assert trap.is_dir(), "the file is harmless: the test would pass for any reader"


@pytest.mark.parametrize("item", [Path("x"), np.float64(1.0), {1: Exception()}])
def test_objects_of_other_kinds_are_refused(tmp_path: Path, item: Any) -> None:
    with pytest.raises(DataError):
        npz.read(write(tmp_path / "a.npz", x=objects([1], item)), ("x",))


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ([1.5, 2.0], r"x\[1\] is not a list of whole numbers"),
        ([[1, 2], [3, 4]], r"x\[1\] is not a list of whole numbers"),
        ([[1, 2], [3]], r"x\[1\] is not a list of whole numbers"),
        ([1, -2], r"x\[1\] is not a list of whole numbers"),
        (["one"], r"x\[1\] is not a list of whole numbers"),
        ([True], r"x\[1\] is not a list of whole numbers"),
        (7, r"x\[1\] is not a list of whole numbers"),
        (None, r"x\[1\] is not a list of whole numbers"),
        ("words", r"x\[1\] is not a list of whole numbers"),
        ([2**70], r"x\[1\] is a number outside 0 to 2\*\*63"),
        ([1, 2**40], r"x\[1\] is not a list of whole numbers from 0 to 2,147,483,647"),
        ([1, 2**63, 3], r"x\[1\] is a number outside 0 to 2\*\*63"),
    ],
)
def test_rows_that_are_not_lists_of_whole_numbers_are_refused(tmp_path: Path, item: Any, words: str) -> None:
    path = write(tmp_path / "a.npz", x=objects([1], item))
    with pytest.raises(DataError, match=words):
        npz.read(path, ("x",))


def test_an_array_of_floats_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="y contains <f8, expected whole numbers"):
        npz.read(write(tmp_path / "a.npz", y=np.array([0.0, 1.0])), ("y",))


def test_a_table_of_objects_is_refused(tmp_path: Path) -> None:
    table = np.array([[1, None]], dtype=object)
    with pytest.raises(DataError, match="x is not a 1-d array"):
        npz.read(write(tmp_path / "a.npz", x=table), ("x",))


def test_a_pickle_that_is_not_an_array_is_refused(tmp_path: Path) -> None:
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|O", "fortran_order": False, "shape": (1,)})
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", head.getvalue() + pickle.dumps([[1]]))
    with pytest.raises(DataError, match="x is not a 1-d array"):
        npz.read(tmp_path / "a.npz", ("x",))


def test_missing_arrays_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not contain y, z; expected the IMDB data set"):
        npz.read(write(tmp_path / "a.npz", x=np.array([1])), ("x", "y", "z"))


def test_a_missing_file_and_a_file_that_is_not_an_archive_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.npz: cannot be read"):
        npz.read(tmp_path / "gone.npz", ("x",))
    (tmp_path / "a.npz").write_bytes(b"<html>404</html>")
    with pytest.raises(DataError, match=r"a\.npz: damaged .*download it again"):
        npz.read(tmp_path / "a.npz", ("x",))


def _bomb(path: Path, stated_bytes: int | None) -> Path:
    """Writes an array of 400 MB that is packed to 2 MB; the archive's directory states its size, or another one."""
    block = bytes(1 << 20)
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<i8", "fortran_order": False, "shape": (50_000_000,)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("x.npy", "w") as file:
            file.write(head.getvalue())
            for _ in range(400):
                file.write(block)
        if stated_bytes is not None:
            archive.filelist[0].file_size = stated_bytes
    return path


def test_a_packed_bomb_is_refused(tmp_path: Path) -> None:
    ((error, peak_mb),) = read_in_a_process(_bomb(tmp_path / "a.npz", None))
    assert "x.npy has 419,430,528 bytes, expected at most 64,000,000" in error
    assert peak_mb < 200


def test_a_packed_bomb_whose_size_is_stated_as_small_is_refused(tmp_path: Path) -> None:
    ((error, peak_mb),) = read_in_a_process(_bomb(tmp_path / "a.npz", 1000))
    assert error.startswith(": damaged")
    assert peak_mb < 200


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_whose_unpacked_size_cannot_be_limited_are_refused(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(write(tmp_path / "a.npz", x=np.arange(5))) as archive:
        content = archive.read("x.npy")
    with zipfile.ZipFile(tmp_path / "b.npz", "w", method) as archive:
        archive.writestr("x.npy", content)
    with pytest.raises(DataError, match="packed by a method that"):
        npz.read(tmp_path / "b.npz", ("x",))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"(5,)", b"(6,)", "x has 5 values, expected 6"),
        (b"(5,), }       ", b"(99999999,), }", "x has 99,999,999 rows, expected at most 200,000"),
        (b"'<i8'", b"'|O8'", "x contains .O8, expected whole numbers"),
        (b"'<i8'", b"'<M8'", "x contains <M8, expected whole numbers"),
        (b"'<i8'", b"[()]*", "x has no header that np.savez writes"),
    ],
)
def test_a_header_that_does_not_describe_the_content_is_refused(
    tmp_path: Path, old: bytes, new: bytes, words: str
) -> None:
    with zipfile.ZipFile(write(tmp_path / "a.npz", x=np.arange(5))) as archive:
        content = archive.read("x.npy")
    assert old in content
    changed = content.replace(old, new)
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("x.npy", changed)
    with pytest.raises(DataError, match=words):
        npz.read(tmp_path / "b.npz", ("x",))


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("dtype", ["u1", "<i2", ">u4", "<i8"])
def test_the_pickles_of_all_versions_of_numpy_are_read(tmp_path: Path, protocol: int, dtype: str) -> None:
    rows = objects([1], [], list(range(70_000)), list(range(254, 259)), np.arange(9).astype(dtype))
    if protocol == 2:
        rows = rows[:4]  # Python 3 stores bytes in another way then; Python 2 did not
    path = write_pickle(tmp_path / "a.npz", pickle.dumps(rows, protocol), len(rows))
    if protocol == 2:
        pickled = pickle.dumps(rows, 2)
        pickled = re.sub(rb"c_codecs\nencode\n.*?R(?=q)", b"U\x01b", pickled, flags=re.DOTALL)
        path = write_pickle(tmp_path / "a.npz", pickled, len(rows))
    found = npz.read(path, ("x",))["x"]
    assert [row.tolist() for row in found] == [list(row) for row in rows]
    assert {row.dtype for row in found} == {np.dtype(np.int64)}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Path]:
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    write(path, x=objects([1, 2], [3]), y=np.array([0, 1]))
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
