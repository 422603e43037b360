"""Real limits of this process under which files cannot be read or written, although their content is intact."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_descriptors() -> Iterator[None]:
    """No further file can be opened: EMFILE."""
    lowest_free = os.open("/dev/null", os.O_RDONLY)
    os.close(lowest_free)
    with _limit(resource.RLIMIT_NOFILE, lowest_free):
        yield


@contextmanager
def no_writes() -> Iterator[None]:
    """No file can grow, as on a full disk. Python ignores the signal, so the system call fails with EFBIG."""
    with _limit(resource.RLIMIT_FSIZE, 0):
        yield


@contextmanager
def _limit(kind: int, value: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (value, hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))
