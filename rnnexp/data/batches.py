"""Batches of tokens. Their order depends only on the seed and the epoch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rnnexp.data.store import TokenStore
from rnnexp.data.text import PAD, cut

_POOL_BATCHES = 50
"""Texts are sorted by length within pools of so many batches: larger pools need less padding but mix texts less."""


@dataclass(frozen=True)
class Batch:
    """Some texts, padded to one length.

    Attributes:
        tokens: ids, int32, shape (B, T).
        labels: class ids, int32, shape (B,).
        rows: row number of each text in the store, shape (B,).
    """

    tokens: NDArray[np.int32]
    labels: NDArray[np.int32]
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class Batches:
    """The batches of some rows of a store.

    Attributes:
        store: the data.
        rows: row numbers, shape (n,).
        vocab_size: vocabulary size V; larger ids become unknown.
        maxlen: largest number of ids of a text; the last ones are kept.
        batch_size: number of texts B of a batch; the last batch can be smaller.
        padding: `bucketed` or `fixed`.
        bucket_lengths: the allowed lengths T of a bucketed batch, ascending; the last one is `maxlen`.
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
        """Yields the batches of one epoch in random order: each row once, with rows of similar length in one batch."""
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
        """Yields batches with each row once, for evaluation, ordered by length."""
        return (self._batch(group) for group in self._by_length(self.rows))

    def _by_length(self, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        ordered = rows[np.argsort(self.store.lengths(rows, self.maxlen), kind="stable")]
        return [ordered[start : start + self.batch_size] for start in range(0, len(ordered), self.batch_size)]

    def _batch(self, rows: NDArray[np.int64]) -> Batch:
        sequences = [cut(self.store.token_ids(int(row)), self.vocab_size, self.maxlen) for row in rows]
        tokens = pad(sequences, self.padding, self.maxlen, self.bucket_lengths)
        return Batch(tokens, self.store.label_ids[rows], rows)


def pad(
    sequences: Sequence[NDArray[np.int32]], padding: str, maxlen: int, bucket_lengths: Sequence[int]
) -> NDArray[np.int32]:
    """Pads texts to one length and returns them as one array, shape (B, T).

    Args:
        sequences: the ids of each text, shape (n,), with n at most `maxlen`.
        padding: `bucketed` puts zeros after each text, `fixed` before it.
        maxlen: the length T if padding is fixed.
        bucket_lengths: the allowed lengths T if padding is bucketed, ascending; the smallest sufficient one is used.
    """
    longest = max(len(sequence) for sequence in sequences)
    length = maxlen if padding == "fixed" else next(bucket for bucket in bucket_lengths if bucket >= longest)
    tokens = np.full((len(sequences), length), PAD, dtype=np.int32)
    for row, sequence in enumerate(sequences):
        if padding == "fixed":
            tokens[row, length - len(sequence) :] = sequence
        else:
            tokens[row, : len(sequence)] = sequence
    return tokens


def bucket_lengths(maxlen: int, n_buckets: int = 24) -> tuple[int, ...]:
    """Returns at most `n_buckets` evenly spaced lengths; the last one is `maxlen`."""
    step = -(-maxlen // n_buckets)
    return tuple(sorted({min(length, maxlen) for length in range(step, maxlen + step, step)}))
