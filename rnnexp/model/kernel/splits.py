"""Divides the texts of a batch among threads, such that every product gives the same bits as without the division.

A BLAS library computes the last rows of a product differently from the others, and small products differently from
large ones. So the bits of a row can depend on how many rows are multiplied at once. Where to cut, and for how many rows
the parts give the bits of the whole, depends on the sizes and on the library, so it is found by multiplying random
numbers. They show a difference in practically every case, because thousands of sums are compared.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnnexp.model.kernel.packing import multiply

Steps = NDArray[np.int64]

_MULTIPLES = 16, 12
"""Rows in the blocks of OpenBLAS' kernels: all sizes of these kernels divide one of them."""


@dataclass(frozen=True)
class Part:
    """Some texts of a batch at some steps, for the loops of a cell.

    Attributes:
        texts: which of the texts, in the order of decreasing length.
        begin: the first step.
        end: the step after the last one.
        active: texts of the part that have a word at step t, (T,).
        first: row of the first of them at step t, (T + 1,).
    """

    texts: slice
    begin: int
    end: int
    active: Steps
    first: Steps


class RowSplits:
    """Divides the product of the states of a step (n, K) and the weights (K, N) by rows."""

    def __init__(self, inner: int, outer: int) -> None:
        """Args:
        inner: K.
        outer: N.
        """
        self._random = np.random.default_rng(0)
        self._weights = self._random.standard_normal((inner, outer), np.float32)
        self._rows = np.empty((0, inner), np.float32)
        self._found: dict[tuple[int, ...], bool] = {}
        self._divisible: dict[int, bool] = {}

    def parts(self, active: Steps, first: Steps, threads: int) -> list[list[Part]]:
        """Divides a batch into parts. The bits of the result do not depend on the number of threads.

        Where the library gives the rows of a whole batch other bits when it is divided, the batch is always divided
        into the same two parts.

        Args:
            active: texts that have a t-th word, (T,); it decreases.
            first: row of the first word of step t, (T + 1,).
            threads: how many parts are useful.

        Returns:
            Groups of parts: the parts of a group can be computed at the same time. `forward` needs the groups in this
            order, `backward` in the reverse one.
        """
        n_texts, n_steps = int(active[0]), len(active)
        cuts: tuple[int, ...] = ()
        n_divided = 0
        if not self._is_divisible(n_texts):
            cuts = _halves(n_texts, _MULTIPLES[0])
            n_divided = n_steps if cuts else 0
        elif threads > 1:
            cuts, n_divided = self._exact_cuts(active, threads)
        groups = []
        if cuts:
            bounds = [0, *cuts, n_texts]
            groups.append([_part(active, first, slice(*texts), n_divided) for texts in itertools.pairwise(bounds)])
        if n_divided < n_steps or not cuts:
            groups.append([Part(slice(0, n_texts), n_divided, n_steps, active, first)])
        return groups

    def _is_divisible(self, n_texts: int) -> bool:
        """Whether the product of all texts of a batch keeps its bits when it is divided in the middle."""
        if n_texts not in self._divisible:
            self._divisible[n_texts] = any(self._is_exact(n_texts, _halves(n_texts, by)) for by in _MULTIPLES)
        return self._divisible[n_texts]

    def _exact_cuts(self, active: Steps, threads: int) -> tuple[tuple[int, ...], int]:
        """Returns the cuts that divide most steps, and the number of these steps; no cuts if there are none."""
        best: tuple[tuple[int, ...], int] = (), 0
        while threads > 1 and best[1] < len(active):
            for by in _MULTIPLES:
                cuts = _cuts(active, threads, by)
                n_steps = self._exact_steps(active, cuts) if cuts else 0
                best = max(best, (cuts, n_steps), key=lambda found: found[1])
            threads //= 2
        return best

    def _exact_steps(self, active: Steps, cuts: Sequence[int]) -> int:
        """Returns how many steps, from the first one on, can be divided."""
        for n_rows in np.unique(active)[::-1]:
            if not self._is_exact(int(n_rows), cuts):
                return int((active > n_rows).sum())
        return len(active)

    def _is_exact(self, n_rows: int, cuts: Sequence[int]) -> bool:
        """Whether the product of so many rows has the same bits if it is cut."""
        bounds = (*(cut for cut in cuts if cut < n_rows), n_rows)
        if bounds not in self._found:
            self._found[bounds] = len(bounds) == 1 or self._compare(bounds)
        return self._found[bounds]

    def _compare(self, bounds: tuple[int, ...]) -> bool:
        n_rows = bounds[-1]
        if n_rows > len(self._rows):
            self._rows = self._random.standard_normal((n_rows, self._weights.shape[0]), np.float32)
        rows = self._rows[:n_rows]
        whole, divided = (np.empty((n_rows, self._weights.shape[1]), np.float32) for _ in range(2))
        multiply(rows, self._weights, whole)
        for start, end in itertools.pairwise((0, *bounds)):
            multiply(rows[start:end], self._weights, divided[start:end])
        return np.array_equal(whole, divided)


def _halves(n_texts: int, multiple: int) -> tuple[int, ...]:
    """Returns after how many texts to cut in the middle; nothing for few texts."""
    cut = round(n_texts / 2 / multiple) * multiple
    return (cut,) if 0 < cut < n_texts else ()


def _cuts(active: Steps, count: int, multiple: int) -> tuple[int, ...]:
    """Returns after how many texts to cut, so that the parts have nearly the same number of words."""
    n_texts = int(active[0])
    lengths = np.searchsorted(-active, -np.arange(n_texts), side="left")  # text b has a word where active > b
    words = np.cumsum(lengths)
    ideal = [int(np.searchsorted(words, words[-1] * part / count)) + 1 for part in range(1, count)]
    rounded = {round(cut / multiple) * multiple for cut in ideal}
    return tuple(sorted(cut for cut in rounded if 0 < cut < n_texts))


def _part(active: Steps, first: Steps, texts: slice, end: int) -> Part:
    part = np.clip(active - texts.start, 0, texts.stop - texts.start)
    return Part(texts, 0, min(end, int((part > 0).sum())), part, first + texts.start)
