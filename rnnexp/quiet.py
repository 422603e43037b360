"""Suppresses the log output of libraries: TensorFlow's C++ code writes to file descriptor 2 despite its settings."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@contextmanager
def standard_error() -> Iterator[None]:
    """Discards what is written to standard error during the block; exceptions are not affected."""
    original, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(original, 2)
        os.close(original)
        os.close(null)
