"""Compiles loops with Numba. This module imports Numba, so only the process of a trial should import it.

Numba's cache of compiled code lies beside the file of each function and is valid until that file changes. After a
change of `kernel.math` delete the `__pycache__` folders of `kernel` and `cells`. Where the program is installed without
the permission to write there, Numba uses the user's cache folder; where that cannot be written either, a folder of
this user in the temporary folder is used.
"""

import contextlib
import os
import stat
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.extending import register_jitable

from rnnexp.model.kernel import math

# Fast math: what the compiler may do to a sum; infinities and NaN are preserved.
# NumPy's division: Python's checks for zero, and a loop with that check is not vectorized.
_OPTIONS: dict[str, Any] = {"fastmath": {"contract", "reassoc", "nsz", "arcp"}, "error_model": "numpy"}


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a function when it is called first, or loads it from the cache.

    With `NUMBA_DISABLE_JIT=1`, as users set it to debug, Numba compiles nothing and the function stays plain Python.
    """
    dispatcher: Any = numba.njit(nogil=True, **_OPTIONS)(function)
    if numba.config.DISABLE_JIT:
        return function
    try:
        dispatcher.enable_caching()
    except RuntimeError:  # neither the folder of the source nor the user's cache folder can be written
        folder = private_temporary_folder()
        if folder is not None:
            numba.config.CACHE_DIR = str(folder)
            with contextlib.suppress(RuntimeError):  # without a cache, each start of the program compiles
                dispatcher.enable_caching()
    compiled_when_called: Callable[..., Any] = dispatcher
    return compiled_when_called


def private_temporary_folder() -> Path | None:
    """Returns a folder for compiled code in the temporary folder, to which only this user has access.

    None if there is none: compiled code that another user can replace must not be loaded.
    """
    folder = Path(tempfile.gettempdir()) / f"rnnexp-numba-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError:
        return None
    is_private = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077
    return folder if is_private and os.access(folder, os.W_OK) else None


inline: Callable[..., Any] = numba.njit(inline="always", **_OPTIONS)
"""Compiles a function that becomes a part of its callers."""

for _function in math.INLINED:
    register_jitable(inline="always", **_OPTIONS)(_function)
for _function in math.CALLED:
    register_jitable(**_OPTIONS)(_function)


@cache
def compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Returns the compiled form of a cell's loop, the same one for each layer."""
    loop: Callable[..., None] = jit(function)
    return loop
