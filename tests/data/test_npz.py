import io
import json
import os
import pickle
import pickletools
import re
import subprocess
import sys
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
    path = _write(tmp_path / "a.npz", x=_objects([1], item))
    with pytest.raises(DataError, match=words):
        npz.read(path, ("x",))


def test_an_array_of_floats_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="y contains <f8, expected whole numbers"):
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


def _packed(path: Path, pickled: bytes, rows: int = 1) -> Path:
    """Writes a file whose array x is a pickle of our own."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|O", "fortran_order": False, "shape": (rows,)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", head.getvalue() + pickled)
    return path


def _state(shape: bytes, code: bytes, content: bytes, order: bytes = b"<") -> bytes:
    """Returns the operations that leave an array on the stack."""
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR"
        + (b"(K\x01" + shape + b"cnumpy\ndtype\n(U" + bytes([len(code)]) + code + b"\x89\x88tR")
        + (
            b"(K\x03U"
            + bytes([len(order)])
            + order
            + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
            + content
            + b"tb"
        )
    )


def _of_objects(content: bytes, rows: bytes = b"K\x01\x85") -> bytes:
    """Returns the pickle of an array of objects that contains the values of some operations."""
    return b"\x80\x02" + _state(rows, b"O8", b"](" + content + b"e", order=b"|") + b"."


_READ = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
from pathlib import Path
from rnnexp.data import npz
from rnnexp.errors import DataError
for path in sys.argv[1:]:
    error = ""
    try:
        npz.read(Path(path), ("x",))
    except DataError as found:
        error = str(found).removeprefix(path)
    except Exception as found:
        error = repr(found)
    lines = Path("/proc/self/status").read_text().splitlines()  # `getrusage` counts the memory of the parent, too
    peak_mb = next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))
    print(json.dumps([error, peak_mb]), flush=True)
"""


def _read_in_a_process(*paths: Path) -> list[tuple[str, int]]:
    """Reads files in a process, which they may kill; returns the error and the peak of memory in MB after each."""
    done = subprocess.run(
        [sys.executable, "-c", _READ, *map(str, paths)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


_COUNT = b"\xff\xff\xff\x7f"
_ATTACKS = {
    "an array over an address of the file's choice": (
        b"\x80\x03cnumpy\nndarray\n(K\x01\x85X\x01\x00\x00\x00OC\x08AAAAAAAAtR.",
        "refused: the pickle calls ndarray",
    ),
    "an array over an address, as an item": (
        _of_objects(b"cnumpy\nndarray\n(K\x01\x85X\x01\x00\x00\x00OC\x08AAAAAAAAtR"),
        "refused: the pickle calls ndarray",
    ),
    "an array of a huge shape": (
        b"\x80\x03cnumpy\nndarray\n(J" + _COUNT + b"J" + _COUNT + b"\x86tR.",
        "refused: the pickle calls ndarray",
    ),
    "a rebuilt array of a huge shape": (
        b"\x80\x03cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nJ" + _COUNT + b"\x85C\x01itR.",
        "x is an array without content",
    ),
    "a state of objects whose content is bytes": (
        b"\x80\x03" + _state(b"K\x01\x85", b"O8", b"C\x08AAAAAAAA", order=b"|") + b".",
        "x is not an array of objects",
    ),
    "an item of objects whose content is bytes": (
        _of_objects(_state(b"K\x01\x85", b"O8", b"C\x08AAAAAAAA", order=b"|")),
        "x[0] is not an array of whole numbers",
    ),
    "an item of floats": (_of_objects(_state(b"K\x01\x85", b"f8", b"C\x08AAAAAAAA")), "x[0] is not an array of whole"),
    "an item with too few bytes": (
        _of_objects(_state(b"K\x02\x85", b"i8", b"C\x08AAAAAAAA")),
        "x[0] is an array whose",
    ),
    "an item of a negative shape": (
        _of_objects(_state(b"J\xff\xff\xff\xff\x85", b"i8", b"C\x00")),
        "x[0] is not a 1-d array",
    ),
    "a type made of other types": (
        _of_objects(_state(b"K\x01\x85", b"i4,i4", b"C\x08AAAAAAAA")),
        "x[0] is not an array",
    ),
    "a number of two gigabytes": (b"\x80\x02\x8b" + _COUNT + b".", "refused: the pickle contains the operation LONG4"),
    "bytes of a length that does not exist": (b"\x80\x03B" + _COUNT + b".", "refused: damaged or truncated"),
    "bytes of an exabyte": (
        b"\x80\x04\x8e" + b"\xff" * 7 + b"\x0f.",
        "refused: the pickle contains the operation BINBYTES8",
    ),
    "a bytearray of an exabyte": (b"\x80\x05\x96" + b"\xff" * 7 + b"\x0f.", "the operation BYTEARRAY8"),
    "a memo of billions of places": (b"\x80\x02]r" + b"\xff\xff\xff\xff.", "x is not a 1-d array"),
    "a memo of billions of places, as text": (b"\x80\x02]p4294967295\n.", "the operation PUT"),
    "lists nested a million times": (b"\x80\x02" + b"]" * 900_000 + b"a" * 899_999 + b".", "x is not a 1-d array"),
    "tuples nested a million times": (b"\x80\x02)" + b"\x85" * 1_000_000 + b".", "x is not a 1-d array"),
    "millions of empty lists": (b"\x80\x02" + b"]" * 30_000_000 + b".", "more than 2,000,000 operations"),
    "millions of empty sets": (b"\x80\x04" + b"\x8f" * 30_000_000 + b".", "the operation EMPTY_SET"),
    "a list that contains itself": (_of_objects(b"]q\x00h\x00a"), "x[0] is not a list of whole numbers"),
    "one long list a million times": (
        _of_objects(b"]q\x00(" + b"M\x39\x30" * 1000 + b"e" + b"h\x00" * 99_999, rows=b"J\xa0\x86\x01\x00\x85"),
        "x has more than 32,000,000 values",
    ),
    "lists of lists of lists, each ten times": (
        _of_objects(
            b"](K\x01K\x02eq\x00"
            + b"".join(
                b"](" + b"h" + bytes([n]) * 1 + (b"h" + bytes([n])) * 9 + b"eq" + bytes([n + 1]) for n in range(12)
            ),
            rows=b"K\x0d\x85",
        ),
        "x[1] is not a list of whole numbers",
    ),
}


_N_ROWS = {"one long list a million times": 100_000, "lists of lists of lists, each ten times": 13}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, int]]:
    """The answers to all attacks; those that crash the reader have none."""
    folder = tmp_path_factory.mktemp("attacks")
    paths = [
        _packed(folder / f"{index}.npz", pickled, _N_ROWS.get(name, 1))
        for index, (name, (pickled, _)) in enumerate(_ATTACKS.items())
    ]
    return dict(zip(_ATTACKS, _read_in_a_process(*paths), strict=True))


@pytest.mark.parametrize("name", _ATTACKS)
def test_a_pickle_that_attacks_the_reader_is_refused(answers: dict[str, tuple[str, int]], name: str) -> None:
    """The process must not crash, and must not need much memory."""
    error, peak_mb = answers[name]
    assert error.startswith(": ")
    assert _ATTACKS[name][1] in error
    assert peak_mb < 500


def test_only_numbers_are_made_from_a_pickle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No function that the pickle names is called, and Python's own reader sees only runs of whole numbers."""
    seen: list[bytes] = []
    original = pickle.loads
    monkeypatch.setattr(pickle, "loads", lambda data: (seen.append(data), original(data))[1])
    path = _write(tmp_path / "a.npz", x=_objects([1, 2**17, 3], np.array([5, 6]), list(range(2500))))
    assert [len(row) for row in npz.read(path, ("x",))["x"]] == [3, 2, 2500]
    operations = {op.name for data in seen for op, _, _ in pickletools.genops(data)}
    assert operations == {"MARK", "BININT", "BININT1", "BININT2", "LIST", "STOP"}


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
    ((error, peak_mb),) = _read_in_a_process(_bomb(tmp_path / "a.npz", None))
    assert "x.npy has 419,430,528 bytes, expected at most 64,000,000" in error
    assert peak_mb < 200


def test_a_packed_bomb_whose_size_is_stated_as_small_is_refused(tmp_path: Path) -> None:
    ((error, peak_mb),) = _read_in_a_process(_bomb(tmp_path / "a.npz", 1000))
    assert error.startswith(": damaged")
    assert peak_mb < 200


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_whose_unpacked_size_cannot_be_limited_are_refused(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(_write(tmp_path / "a.npz", x=np.arange(5))) as archive:
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
    with zipfile.ZipFile(_write(tmp_path / "a.npz", x=np.arange(5))) as archive:
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
    rows = _objects([1], [], list(range(70_000)), list(range(254, 259)), np.arange(9).astype(dtype))
    if protocol == 2:
        rows = rows[:4]  # Python 3 stores bytes in another way then; Python 2 did not
    path = _packed(tmp_path / "a.npz", pickle.dumps(rows, protocol), len(rows))
    if protocol == 2:
        pickled = pickle.dumps(rows, 2)
        pickled = re.sub(rb"c_codecs\nencode\n.*?R(?=q)", b"U\x01b", pickled, flags=re.DOTALL)
        path = _packed(tmp_path / "a.npz", pickled, len(rows))
    found = npz.read(path, ("x",))["x"]
    assert [row.tolist() for row in found] == [list(row) for row in rows]
    assert {row.dtype for row in found} == {np.dtype(np.int64)}


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
