"""Keeps libraries' chatter off the terminal: TensorFlow's C++ code writes to descriptor 2 whatever its settings say."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@contextmanager
def standard_error() -> Iterator[None]:
    """Sends standard error nowhere for a while; exceptions still pass."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
