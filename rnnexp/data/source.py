"""The interface of a data set, and its content as ids, labels and a vocabulary."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rnnexp.config.trial import DataConfig
from rnnexp.data.splits import hold_out, split
from rnnexp.data.text import Vocabulary
from rnnexp.data.tokenized import Ids, Tokenized, tokenize
from rnnexp.errors import DataError, shown


class Texts(Protocol):
    """Texts as ids: a list of arrays, or `EncodedTexts`."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Ids: ...

    def __iter__(self) -> Iterator[Ids]: ...


@dataclass(frozen=True)
class Encoded:
    """A data set as ids.

    Attributes:
        pool: the ids of each text for training and validation, shape (n,), with the start id first.
        pool_labels: class ids, shape (len(pool),).
        test: the ids of each text of the test part, as in `pool`.
        test_labels: class ids, shape (len(test),).
        vocabulary: all words that have an id.
        labels: the names of the classes.
        groups: group of each text of the pool, shape (len(pool),), for a split that keeps groups together; None if
            the groups are not known.
    """

    pool: Texts
    pool_labels: NDArray[np.int32]
    test: Texts
    test_labels: NDArray[np.int32]
    vocabulary: Vocabulary
    labels: tuple[str, ...]
    groups: NDArray[np.int32] | None = None


class DataSet(Protocol):
    """The interface of the modules of `rnnexp/data/sets/`, and of the user's own files."""

    def description(self) -> str:
        """Returns a description of one line."""
        ...

    def licence(self) -> str:
        """Returns who may use the texts, and from whom that is known, in one sentence."""
        ...

    def local_path(self) -> str | None:
        """Returns the place of the data on this machine, or None if they must be downloaded."""
        ...

    def identity(self, config: DataConfig) -> str:
        """Returns a string that changes whenever the result of `read` changes.

        Raises:
            DataUnavailableError: if the data are not on this machine and the download failed.
            DataError: if they are damaged.
        """
        ...

    def identity_of_test_part(self, config: DataConfig) -> str:
        """Returns a string that changes whenever other rows are in the test part; raises as `identity` does."""
        ...

    def read(self, config: DataConfig) -> Encoded:
        """Reads the data; raises as `identity` does."""
        ...


def encode_texts(
    texts: Sequence[str],
    labels: NDArray[np.int32],
    names: tuple[str, ...],
    config: DataConfig,
    groups: NDArray[np.int32] | None = None,
) -> Encoded:
    """Turns raw texts into ids, as `split_texts` does.

    Args:
        texts: all texts.
        labels: their class ids, shape (len(texts),).
        names: the names of the classes.
        config: the settings of the split.
        groups: group of each text, as for `split_texts`.

    Raises:
        DataError: if there are too few rows for three parts.
    """
    return split_texts(tokenize(texts), labels, names, config, groups)


def split_texts(
    texts: Tokenized,
    labels: NDArray[np.int32],
    names: tuple[str, ...],
    config: DataConfig,
    groups: NDArray[np.int32] | None = None,
) -> Encoded:
    """Turns tokenized texts into ids: holds out a test part and builds the vocabulary from the training part only.

    Args:
        texts: all texts.
        labels: their class ids, shape (len(texts),).
        names: the names of the classes.
        config: the settings of the split; the test part is as large as the validation part.
        groups: group of each text, shape (len(texts),); all texts of a group are in one part.

    Raises:
        DataError: if there are too few rows for three parts.
    """
    source = config.path or config.name
    n_parts = 3
    for name, count in zip(names, np.bincount(labels, minlength=len(names)).tolist(), strict=True):
        if count < n_parts:
            raise DataError(
                f"{source}: label {shown(name)} has {count} row{'s' if count != 1 else ''}, expected at least "
                f"{n_parts}: one each for training, validation and test"
            )
    share = config.validation_split / (1 + config.validation_split)
    pool_rows, test_rows = hold_out(labels, share, config.split, config.seed, source, groups)
    pool_labels, pool_groups = labels[pool_rows], None if groups is None else groups[pool_rows]
    train = pool_rows[split(pool_labels, config, source, pool_groups).train]
    vocabulary, ids = texts.rank(train)
    return Encoded(
        pool=texts.encoded(pool_rows, ids),
        pool_labels=pool_labels,
        test=texts.encoded(test_rows, ids),
        test_labels=labels[test_rows],
        vocabulary=vocabulary,
        labels=names,
        groups=pool_groups,
    )
