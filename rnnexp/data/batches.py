"""Batches of tokens. Their order depends only on the seed and the epoch."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rnnexp.data.padding import pad
from rnnexp.data.store import TokenStore
from rnnexp.data.text import RESERVED, UNKNOWN, cut

_MOST_BATCHES_OF_A_POOL = 50
_FEWEST_POOLS = 4
"""Texts are sorted by length within pools, which are drawn again in each epoch. Larger pools need less padding but mix
texts less: in a single pool the same texts of similar length would be in one batch in every epoch. A small part has
small pools."""

_REPLACED = 0.5
"""Share of the rare words that are replaced by the unknown id in an epoch."""


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
        rare_words: ids that `shuffled` replaces by the unknown id in half of the epochs, shape (n,).
    """

    store: TokenStore
    rows: NDArray[np.int64]
    vocab_size: int
    maxlen: int
    batch_size: int
    padding: Literal["bucketed", "fixed"]
    bucket_lengths: Sequence[int]
    rare_words: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def shuffled(self, seed: int, epoch: int) -> Iterator[Batch]:
        """Yields the batches of one epoch in random order: each row once, with rows of similar length in one batch.

        If the rows do not fill the last batch, its texts are a random draw: each of them has a larger weight in its
        step than the texts of a whole batch, so they must not be the same ones, or the longest ones, in each epoch.
        """
        rng = np.random.default_rng([seed, epoch])
        rows = self.rows[rng.permutation(len(self.rows))]
        groups = self._cut(rows)
        if self.padding == "bucketed":
            n_whole = len(rows) // self.batch_size
            n_pools = max(1, -(-n_whole // self._pool_batches))
            bounds = [n_whole * index // n_pools * self.batch_size for index in range(n_pools + 1)]
            groups = groups[n_whole:]
            for start, end in itertools.pairwise(bounds):
                groups += self._by_bucket(rows[start:end])
            groups = [groups[index] for index in rng.permutation(len(groups))]
        replaced = self._ids_with_unknown(np.random.default_rng([seed, epoch, 1]))
        return (self._batch(group, replaced) for group in groups)

    def _ids_with_unknown(self, rng: np.random.Generator) -> NDArray[np.int32] | None:
        """Returns the id that replaces each id in this epoch, (V,); None if no word is replaced."""
        if not len(self.rare_words):
            return None
        ids = np.arange(self.vocab_size, dtype=np.int32)
        ids[self.rare_words[rng.random(len(self.rare_words)) < _REPLACED]] = UNKNOWN
        return ids

    @property
    def _pool_batches(self) -> int:
        """The number of batches of a pool."""
        return min(_MOST_BATCHES_OF_A_POOL, max(1, len(self.rows) // (_FEWEST_POOLS * self.batch_size)))

    def _by_bucket(self, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Returns batches of rows in the order of their buckets.

        Texts of one bucket are padded to one length, so they keep their random order: that costs no padding and mixes
        texts of similar length.
        """
        buckets = np.searchsorted(self.bucket_lengths, self.store.lengths(rows, self.maxlen))
        return self._cut(rows[np.argsort(buckets, kind="stable")])

    def in_order(self) -> Iterator[Batch]:
        """Yields batches with each row once, for evaluation, ordered by length."""
        return (self._batch(group) for group in self._by_length(self.rows))

    def _by_length(self, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        return self._cut(rows[np.argsort(self.store.lengths(rows, self.maxlen), kind="stable")])

    def _cut(self, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        return [rows[start : start + self.batch_size] for start in range(0, len(rows), self.batch_size)]

    def _batch(self, rows: NDArray[np.int64], replaced: NDArray[np.int32] | None = None) -> Batch:
        sequences = [cut(self.store.token_ids(int(row)), self.vocab_size, self.maxlen) for row in rows]
        tokens = pad(sequences, self.padding, self.maxlen, self.bucket_lengths)
        if replaced is not None:
            tokens = replaced[tokens]
        return Batch(tokens, self.store.label_ids[rows], rows)


def words_for_unknown(store: TokenStore, rows: NDArray[np.int64], vocab_size: int) -> NDArray[np.int32]:
    """Returns the words that have to stand for unknown words during training; none if the texts have unknown words.

    The vector of the unknown id is trained only if that id occurs in training. The vocabulary of the user's own texts
    is made of the training part, so if all of its words have an id below `vocab_size`, the id never occurs there. A
    model then reads every new word as a random vector. So words that occur once are replaced by the unknown id in half
    of the epochs (Dyer et al., "Transition-Based Dependency Parsing with Stack Long Short-Term Memory", ACL 2015). They
    keep their own ids everywhere else.

    Args:
        store: the data.
        rows: the training part, shape (n,).
        vocab_size: vocabulary size V.
    """
    none = np.zeros(0, np.int32)
    if len(store.vocabulary.words) + RESERVED >= vocab_size:  # then the least frequent words are unknown
        return none
    counts = store.word_counts(rows)
    if counts[UNKNOWN]:
        return none
    return np.flatnonzero(counts[RESERVED + 1 :] == 1).astype(np.int32) + RESERVED + 1
