"""Words and ids: how text is parted into words, and which id each word has.

The ids are those of Keras' IMDB: 0 pads, 1 starts a review, 2 stands for an unknown word, and the word of rank r
(the most frequent has rank 1) is r + 3. A vocabulary of size V keeps the ids below V.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PAD, START, UNKNOWN = 0, 1, 2
RESERVED = 3
"""The word of rank r has the id r + RESERVED, as Keras' `index_from` has it."""

UNKNOWN_WORD = "<?>"
"""Stands for an unknown word where ids are read as words; no tokenizer's output, for it is punctuation."""

PUNCTUATION = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~'
"""Dropped, as Keras' Tokenizer drops it; the apostrophe stays part of its word."""

SPACES = (
    "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005"
    "\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
"""What parts words: Unicode's white space, listed, so that every export can part them alike.

U+0085 is not in it: in the IMDB reviews it is a dash or an ellipsis, and one of their frequent words."""

_TO_SPACE = str.maketrans(dict.fromkeys(PUNCTUATION + SPACES, " "))


def words(text: str) -> list[str]:
    """Returns the lower-cased words of a text, punctuation dropped."""
    return [word for word in text.lower().translate(_TO_SPACE).split(" ") if word]


@dataclass(frozen=True)
class Vocabulary:
    """The words by rank, the most frequent first."""

    words: tuple[str, ...]

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: rank + RESERVED for rank, word in enumerate(self.words, start=1)}

    @classmethod
    def build(cls, texts: Iterable[Sequence[str]]) -> "Vocabulary":
        """Ranks the words of the texts by frequency; among equals the first seen leads."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(text)
        return cls(tuple(word for word, _ in counts.most_common()))

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """Reads a file with one word a line."""
        text = path.read_text(encoding="utf-8")
        return cls(tuple(text.removesuffix("\n").split("\n")) if text else ())

    def save(self, path: Path) -> None:
        """Writes a file with one word a line."""
        path.write_text("".join(f"{word}\n" for word in self.words), encoding="utf-8")

    def cut(self, vocab_size: int) -> "Vocabulary":
        """Returns the words whose ids are below `vocab_size`."""
        return Vocabulary(self.words[: max(0, vocab_size - RESERVED - 1)])

    def encode(self, parted: Sequence[str]) -> NDArray[np.uint32]:
        """Returns the ids of a review's words, the start id first, shape (1 + n_words,)."""
        ids = self._ids
        return np.fromiter((START, *(ids.get(word, UNKNOWN) for word in parted)), np.uint32, len(parted) + 1)

    def decode(self, ids: Iterable[int], unknown: str = UNKNOWN_WORD) -> str:
        """Returns ids as words; the start is left out, an unknown word is shown as `<?>`."""
        shown = []
        for token in ids:
            rank = int(token) - RESERVED
            if 1 <= rank <= len(self.words):
                shown.append(self.words[rank - 1])
            elif token not in (PAD, START):
                shown.append(unknown)
        return " ".join(shown)


def cut(ids: NDArray[np.uint32], vocab_size: int, maxlen: int) -> NDArray[np.int32]:
    """Returns the last `maxlen` ids, those outside the vocabulary made unknown.

    Args:
        ids: one review, shape (n,).
        vocab_size: ids kept, V.
        maxlen: ids kept of the review, the last ones, as Keras' `pad_sequences` does.
    """
    kept = ids[-maxlen:].astype(np.int32)
    kept[kept >= vocab_size] = UNKNOWN
    return kept
