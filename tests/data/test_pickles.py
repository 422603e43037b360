"""Pickles that attack the reader of `imdb.npz`."""

import pickle
import pickletools
from pathlib import Path

import numpy as np
import pytest

from rnnexp.data import npz
from tests.data.npz_files import objects, read_in_a_process, write, write_pickle


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
        write_pickle(folder / f"{index}.npz", pickled, _N_ROWS.get(name, 1))
        for index, (name, (pickled, _)) in enumerate(_ATTACKS.items())
    ]
    return dict(zip(_ATTACKS, read_in_a_process(*paths), strict=True))


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
    path = write(tmp_path / "a.npz", x=objects([1, 2**17, 3], np.array([5, 6]), list(range(2500))))
    assert [len(row) for row in npz.read(path, ("x",))["x"]] == [3, 2, 2500]
    operations = {op.name for data in seen for op, _, _ in pickletools.genops(data)}
    assert operations == {"MARK", "BININT", "BININT1", "BININT2", "LIST", "STOP"}
