"""Suppresses the log output of libraries: TensorFlow's C++ code writes to file descriptor 2 despite its settings."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

_LOCK = threading.Lock()
_n_blocks, _original = 0, -1


@contextmanager
def standard_error() -> Iterator[None]:
    """Discards what is written to standard error during the block; exceptions are not affected.

    The blocks of several threads may overlap: what is written appears again after the last one.
    """
    global _n_blocks, _original
    with _LOCK:
        if _n_blocks == 0:
            _original = os.dup(2)
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 2)
            os.close(null)
        _n_blocks += 1
    try:
        yield
    finally:
        with _LOCK:
            _n_blocks -= 1
            if _n_blocks == 0:
                os.dup2(_original, 2)
                os.close(_original)
