"""Makes changed `.npz` files, with pickles that call what they name."""

import io
import pickle
import pickletools
import zipfile
from random import Random

import numpy as np

from tests.fuzz.case import Case
from tests.fuzz.mutations import change_bytes


def npz_case(random: Random) -> Case:
    rows = np.empty(random.choice((1, 4, 30)), dtype=object)
    for index in range(len(rows)):
        numbers = [random.choice((1, 5, 255, 256, 65_535, 70_000)) for _ in range(random.choice((0, 1, 3, 1500)))]
        rows[index] = (
            np.array(numbers).astype(random.choice(("<i8", ">u4", "u1"))) if random.random() < 0.1 else numbers
        )
    pickled = pickle.dumps(rows, random.choice((3, 4)))
    kind = random.randrange(6)
    if kind == 0:
        pickled = _change_operations(random, pickled)
    elif kind == 1:
        pickled = change_bytes(random, pickled)
    header = io.BytesIO()
    shape = random.choice(((), (len(rows), 1), (10**9,), (-1,), (0,))) if kind == 2 else (len(rows),)
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": shape})
    plain = io.BytesIO()
    np.save(
        plain, np.arange(len(rows)).astype(random.choice(("<f8", "S3", "?", "<M8[s]") if kind == 3 else ("<i8", "u1")))
    )
    arrays = {"x.npy": header.getvalue() + pickled, "y.npy": plain.getvalue()}
    if kind == 4:
        name = random.choice(("x.npy", "y.npy"))
        arrays[name] = change_bytes(random, arrays[name][:150]) + arrays[name][150:]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, content in arrays.items():
            archive.writestr(name, content)
    content = out.getvalue()
    return Case("npz", {"in.npz": change_bytes(random, content) if kind == 5 else content})


_OPERATIONS = (
    *(b"cos\nsystem\n", b"cnumpy\nndarray\n", b"cnumpy\ndtype\n", b"cnumpy.core.multiarray\n_reconstruct\n"),
    *(b"cnumpy.core.multiarray\nscalar\n", b"cbuiltins\neval\n", b"R", b"b"),
    *(b"\x81", b"\x92", b"i", b"o", b"0", b"1", b"2"),
    *(b"]", b"}", b"\x8f", b"(", b"e", b"a", b"u", b"l", b"t", b"\x85"),
    *(b")", b"N", b"K\x05", b"J\xff\xff\xff\xff", b"s"),
    *(b"q\x00", b"r\xff\xff\xff\xff", b"h\x00", b"j\xff\xff\xff\x7f"),
    *(b"\x94", b"X\xff\xff\xff\x7f", b"B\xff\xff\xff\xff"),
    *(b"\x8e" + b"\xff" * 8, b"\x8b\xff\xff\xff\x7f"),
    *(b"\x8a\x09" + b"\x7f" * 9, b"I1\n", b"L1L\n", b"F1.5\n", b"P1\n", b"Q"),
    *(b"U\x02i8", b"C\x08AAAAAAAA", b"(K\x01\x85X\x01\x00\x00\x00OC\x08AAAAAAAAtR", b"\x95" + b"\xff" * 8, b"."),
)  # fmt: skip


def _change_operations(random: Random, pickled: bytes) -> bytes:
    """Returns a pickle in which whole operations were inserted, removed, exchanged or repeated."""
    starts = [position for _, _, position in pickletools.genops(pickled)]
    parts = [pickled[start:end] for start, end in zip(starts, [*starts[1:], len(pickled)], strict=True)]
    for _ in range(random.choice((1, 1, 2, 5))):
        at = min(random.randrange(len(parts)), random.choice((40, 10**6)))
        kind = random.randrange(4)
        if kind <= 1:
            parts.insert(at, random.choice(_OPERATIONS))
        elif kind == 2:
            del parts[at]
        else:
            other = random.randrange(len(parts))
            parts[at], parts[other] = parts[other], parts[at]
    return b"".join(parts)
