"""What a data set hands over, whichever it is: texts as ids, labels, a vocabulary."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rnnexp.config.trial import DataConfig
from rnnexp.data.splits import hold_out, split
from rnnexp.data.text import Vocabulary, words
from rnnexp.errors import DataError

Ids = NDArray[np.uint32]


@dataclass(frozen=True)
class Encoded:
    """A data set as ids.

    Attributes:
        pool: the reviews that train and validate, each of shape (n,), start id first.
        pool_labels: class ids, shape (len(pool),).
        test: the reviews that are kept for the end.
        test_labels: class ids, shape (len(test),).
        vocabulary: all words with an id.
        labels: the classes' names.
    """

    pool: Sequence[Ids]
    pool_labels: NDArray[np.int32]
    test: Sequence[Ids]
    test_labels: NDArray[np.int32]
    vocabulary: Vocabulary
    labels: tuple[str, ...]


class DataSet(Protocol):
    """What a module of `rnnexp/data/sets/` offers; a user's own file offers the same."""

    def about(self) -> str:
        """Returns one line that says what the data are."""
        ...

    def local_path(self) -> str | None:
        """Returns where the data are on this machine, None where they would have to be fetched."""
        ...

    def identity(self, config: DataConfig) -> str:
        """Returns a text that changes whenever what `read` returns would.

        Raises:
            DataUnavailableError: if the data cannot be had on this machine.
            DataError: if they are damaged.
        """
        ...

    def read(self, config: DataConfig) -> Encoded:
        """Reads the data; raises as `identity` does."""
        ...


def encode_texts(
    texts: Sequence[str], labels: NDArray[np.int32], names: tuple[str, ...], config: DataConfig
) -> Encoded:
    """Turns raw texts into ids: holds out a test part, and takes the vocabulary from the training part alone.

    Args:
        texts: all rows.
        labels: their class ids, shape (len(texts),).
        names: the classes' names.
        config: how to part the rows; the test part is as large as the validation part.

    Raises:
        DataError: if the rows do not suffice for three parts.
    """
    source = config.path or config.name
    n_parts = 3
    for label, name in enumerate(names):
        count = int(np.sum(labels == label))
        if count < n_parts:
            raise DataError(
                f"{source}: label {name!r} has {count} row{'s' if count != 1 else ''}, expected at least {n_parts}: "
                "one each to train, validate and test"
            )
    pool_rows, test_rows = hold_out(
        labels, config.validation_split / (1 + config.validation_split), config.split, config.seed, source
    )
    pool_labels = labels[pool_rows]
    train = pool_rows[split(pool_labels, config, source).train]
    parted = [words(text) for text in texts]
    vocabulary = Vocabulary.build(parted[row] for row in train)
    return Encoded(
        pool=[vocabulary.encode(parted[row]) for row in pool_rows],
        pool_labels=pool_labels,
        test=[vocabulary.encode(parted[row]) for row in test_rows],
        test_labels=labels[test_rows],
        vocabulary=vocabulary,
        labels=names,
    )
