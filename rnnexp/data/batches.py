"""Batches of tokens, in an order that follows from a seed and an epoch alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rnnexp.data.store import TokenStore
from rnnexp.data.text import PAD, cut

_POOL_BATCHES = 50
"""Reviews are sorted by length within so many batches: many, and little is padding; few, and the order is random."""


@dataclass(frozen=True)
class Batch:
    """Some reviews, padded to one length.

    Attributes:
        tokens: ids, int32, shape (B, T).
        labels: class ids, int32, shape (B,).
        rows: the store's row of each review, shape (B,).
    """

    tokens: NDArray[np.int32]
    labels: NDArray[np.int32]
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class Batches:
    """A part of a store as batches.

    Attributes:
        store: the data.
        rows: which of them, shape (n,).
        vocab_size: ids kept, V.
        maxlen: ids kept of a review, the last ones.
        batch_size: reviews a batch, B.
        padding: `bucketed` or `fixed`.
        bucket_lengths: the lengths T that a bucketed batch may have, ascending, the last one `maxlen`.
    """

    store: TokenStore
    rows: NDArray[np.int64]
    vocab_size: int
    maxlen: int
    batch_size: int
    padding: Literal["bucketed", "fixed"]
    bucket_lengths: Sequence[int]

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def shuffled(self, seed: int, epoch: int) -> Iterator[Batch]:
        """Yields one epoch's batches: every row once, those of similar length together, in a drawn order."""
        rng = np.random.default_rng([seed, epoch])
        rows = self.rows[rng.permutation(len(self.rows))]
        if self.padding == "fixed":
            groups = [rows[start : start + self.batch_size] for start in range(0, len(rows), self.batch_size)]
        else:
            groups = []
            for start in range(0, len(rows), self.batch_size * _POOL_BATCHES):
                groups += self._by_length(rows[start : start + self.batch_size * _POOL_BATCHES])
            groups = [groups[index] for index in rng.permutation(len(groups))]
        return (self._batch(group) for group in groups)

    def in_order(self) -> Iterator[Batch]:
        """Yields every row once, for measuring; the order is of no consequence to what is measured."""
        return (self._batch(group) for group in self._by_length(self.rows))

    def _by_length(self, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        ordered = rows[np.argsort(self.store.lengths(rows, self.maxlen), kind="stable")]
        return [ordered[start : start + self.batch_size] for start in range(0, len(ordered), self.batch_size)]

    def _batch(self, rows: NDArray[np.int64]) -> Batch:
        reviews = [cut(self.store.review(int(row)), self.vocab_size, self.maxlen) for row in rows]
        tokens = pad(reviews, self.padding, self.maxlen, self.bucket_lengths)
        return Batch(tokens, self.store.label_ids[rows], rows)


def pad(
    reviews: Sequence[NDArray[np.int32]], padding: str, maxlen: int, bucket_lengths: Sequence[int]
) -> NDArray[np.int32]:
    """Returns cut reviews as one array, shape (B, T).

    Args:
        reviews: each of shape (n,), n at most `maxlen`.
        padding: `bucketed` puts zeros after each review, `fixed` before it.
        maxlen: T where padding is fixed.
        bucket_lengths: the lengths T may have otherwise, ascending; the smallest that fits is taken.
    """
    longest = max(len(review) for review in reviews)
    length = maxlen if padding == "fixed" else next(bucket for bucket in bucket_lengths if bucket >= longest)
    tokens = np.full((len(reviews), length), PAD, dtype=np.int32)
    for row, review in enumerate(reviews):
        if padding == "fixed":
            tokens[row, length - len(review) :] = review
        else:
            tokens[row, : len(review)] = review
    return tokens


def bucket_lengths(maxlen: int, n_buckets: int = 24) -> tuple[int, ...]:
    """Returns evenly spaced lengths up to `maxlen`, at most `n_buckets` of them."""
    step = -(-maxlen // n_buckets)
    return tuple(sorted({min(length, maxlen) for length in range(step, maxlen + step, step)}))
