"""Compiles loops with Numba. This module imports Numba, so only the process of a trial should import it.

Numba's cache of compiled code lies beside the file of each function and is valid until that file changes. After a
change of `kernel.math` delete the `__pycache__` folders of `kernel` and `cells`.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numba
from numba.extending import register_jitable

from rnnexp.model.kernel import math

# Fast math: what the compiler may do to a sum; infinities and NaN are preserved.
# NumPy's division: Python's checks for zero, and a loop with that check is not vectorized.
_OPTIONS: dict[str, Any] = {"fastmath": {"contract", "reassoc", "nsz", "arcp"}, "error_model": "numpy"}

jit: Callable[..., Any] = numba.njit(cache=True, nogil=True, **_OPTIONS)
"""Compiles a function when it is called first, or loads it from the cache."""

inline: Callable[..., Any] = numba.njit(inline="always", **_OPTIONS)
"""Compiles a function that becomes a part of its callers."""

for _function in math.INLINED:
    register_jitable(inline="always", **_OPTIONS)(_function)


@cache
def compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Returns the compiled form of a cell's loop, the same one for each layer."""
    loop: Callable[..., None] = jit(function)
    return loop
