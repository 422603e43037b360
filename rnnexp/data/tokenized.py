"""Texts as numbers, in four bytes a word, before it is known which words get which id.

The vocabulary depends on the training rows, and these depend on all labels. So each word first gets a number in the
order in which the words appear. When the rows are split, the words are ranked, and a table turns numbers into ids. A
file is read and tokenized only once, and its texts are not kept.
"""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnnexp.data.text import RESERVED, START, UNKNOWN, Vocabulary, words

Ids = NDArray[np.uint32]

_START_NUMBER = 0
_N_ROWS = 20_000
"""Number of texts that are counted at once."""


class _Numbers(dict[str, int]):
    """The number of each word; an unknown word gets the next one."""

    def __missing__(self, word: str) -> int:
        number = self[word] = len(self) + 1
        return number


class Tokenized:
    """Texts as numbers of words; `add` appends a text."""

    def __init__(self) -> None:
        self._numbers = _Numbers()
        self._tokens = array("I")
        self._ends = array("q", [0])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def add(self, text: str) -> None:
        """Appends the words of a text."""
        self._tokens.append(_START_NUMBER)
        self._tokens.extend(map(self._numbers.__getitem__, words(text)))
        self._ends.append(len(self._tokens))

    @property
    def n_tokens(self) -> int:
        """Number of words of all texts, and one start for each."""
        return len(self._tokens)

    def rank(self, rows: NDArray[np.int64]) -> tuple[Vocabulary, Ids]:
        """Ranks the words of some texts by frequency; words of equal frequency keep the order in which they appear.

        Args:
            rows: the row numbers of the texts, ascending.

        Returns:
            The vocabulary, and the id of each number; a word that is in none of the texts is unknown.
        """
        n_numbers = len(self._numbers) + 1
        counts = np.zeros(n_numbers, dtype=np.int64)
        first = np.zeros(n_numbers, dtype=np.int64)
        for start, tokens in self._blocks(rows):
            counts += np.bincount(tokens, minlength=n_numbers)
            # Of equal indices the last assignment holds, so both go backwards: what remains is the first place.
            first[tokens[::-1]] = start + np.arange(len(tokens))[::-1]
        counts[_START_NUMBER] = 0
        used = np.flatnonzero(counts)
        order = used[np.lexsort((first[used], -counts[used]))]
        ids = np.full(n_numbers, UNKNOWN, dtype=np.uint32)
        ids[order] = np.arange(1, len(order) + 1) + RESERVED
        ids[_START_NUMBER] = START
        all_words = ["", *self._numbers]
        return Vocabulary(tuple(all_words[number] for number in order.tolist())), ids

    def _blocks(self, rows: NDArray[np.int64]) -> Iterator[tuple[int, Ids]]:
        """Yields the tokens of some texts in blocks, the last block first, each with the place of its first token."""
        tokens, ends = np.frombuffer(self._tokens, np.uint32), np.frombuffer(self._ends, np.int64)
        wanted = np.zeros(len(self), dtype=bool)
        wanted[rows] = True
        for first in reversed(range(0, len(self), _N_ROWS)):
            last = min(first + _N_ROWS, len(self))
            kept = np.repeat(wanted[first:last], np.diff(ends[first : last + 1]))
            yield int(ends[first]), tokens[ends[first] : ends[last]][kept]

    def encoded(self, rows: NDArray[np.int64], ids: Ids) -> "EncodedTexts":
        """Returns some texts as ids; nothing is copied.

        Args:
            rows: the row numbers of the texts.
            ids: the id of each number, from `rank`.
        """
        return EncodedTexts(np.frombuffer(self._tokens, np.uint32), np.frombuffer(self._ends, np.int64), rows, ids)


@dataclass(frozen=True)
class EncodedTexts:
    """Some of the tokenized texts as ids; a text is converted when it is read."""

    _tokens: Ids
    _ends: NDArray[np.int64]
    _rows: NDArray[np.int64]
    _ids: Ids

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Ids:
        row = self._rows[index]
        return self._ids[self._tokens[self._ends[row] : self._ends[row + 1]]]

    def __iter__(self) -> Iterator[Ids]:
        return (self[index] for index in range(len(self)))


def tokenize(texts: Iterable[str]) -> Tokenized:
    """Returns texts as numbers."""
    tokenized = Tokenized()
    for text in texts:
        tokenized.add(text)
    return tokenized
