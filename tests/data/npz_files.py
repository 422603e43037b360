"""Writes `.npz` files, and reads them in a process that they may kill."""

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np


def objects(*items: Any) -> "np.ndarray[Any, np.dtype[Any]]":
    array = np.empty(len(items), dtype=object)
    for index, item in enumerate(items):
        array[index] = item
    return array


def write(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def write_pickle(path: Path, pickled: bytes, rows: int = 1) -> Path:
    """Writes a file whose array x is a pickle of our own."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|O", "fortran_order": False, "shape": (rows,)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", head.getvalue() + pickled)
    return path


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


def read_in_a_process(*paths: Path) -> list[tuple[str, int]]:
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
