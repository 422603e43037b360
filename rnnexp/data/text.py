"""The tokenizer and the vocabulary: how a text is split into words, and which id each word has.

The ids are those of the IMDB data set of Keras: 0 is padding, 1 the start of a text, 2 an unknown word, and r + 3 the
word of rank r (the most frequent word has rank 1). A vocabulary of size V keeps the ids below V.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PAD, START, UNKNOWN = 0, 1, 2
RESERVED = 3
"""The word of rank r has the id r + RESERVED; the same as `index_from` in Keras."""

UNKNOWN_WORD = "<?>"
"""Represents an unknown word in decoded text; the tokenizer never returns it, because it is punctuation."""

PUNCTUATION = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~'
"""Characters that are removed, as by the Tokenizer of Keras; the apostrophe is part of a word."""

SPACES = (
    "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005"
    "\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
"""Characters that separate words: the white space of Unicode, listed so that all export formats split alike.

U+0085 is not among them: in the IMDB reviews it is a dash or an ellipsis, and one of their frequent words."""

_TO_SPACE = str.maketrans(dict.fromkeys(PUNCTUATION + SPACES, " "))


def words(text: str) -> list[str]:
    """Returns the words of a text in lower case, without punctuation."""
    return [word for word in text.lower().translate(_TO_SPACE).split(" ") if word]


@dataclass(frozen=True)
class Vocabulary:
    """Words in the order of their rank, the most frequent first."""

    words: tuple[str, ...]

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: rank + RESERVED for rank, word in enumerate(self.words, start=1)}

    @classmethod
    def load(cls, path: Path) -> "Vocabulary":
        """Reads a file with one word per line."""
        text = path.read_text(encoding="utf-8")
        return cls(tuple(text.removesuffix("\n").split("\n")) if text else ())

    def save(self, path: Path) -> None:
        """Writes a file with one word per line."""
        path.write_text("".join(f"{word}\n" for word in self.words), encoding="utf-8")

    def cut(self, vocab_size: int) -> "Vocabulary":
        """Returns the words whose ids are below `vocab_size`."""
        return Vocabulary(self.words[: max(0, vocab_size - RESERVED - 1)])

    def encode(self, tokenized: Sequence[str]) -> NDArray[np.uint32]:
        """Returns the ids of the words of a text, with the start id first, shape (1 + n_words,)."""
        ids = self._ids
        return np.fromiter((START, *(ids.get(word, UNKNOWN) for word in tokenized)), np.uint32, len(tokenized) + 1)

    def decode(self, ids: Iterable[int], unknown: str = UNKNOWN_WORD) -> str:
        """Returns ids as words, without padding and start id; an unknown word becomes `unknown`."""
        decoded = []
        for token in ids:
            rank = int(token) - RESERVED
            if 1 <= rank <= len(self.words):
                decoded.append(self.words[rank - 1])
            elif token not in (PAD, START):
                decoded.append(unknown)
        return " ".join(decoded)


def cut(ids: NDArray[np.uint32], vocab_size: int, maxlen: int) -> NDArray[np.int32]:
    """Returns the last `maxlen` ids of a text; ids outside the vocabulary become unknown.

    Args:
        ids: the ids of one text, shape (n,).
        vocab_size: vocabulary size V; larger ids become unknown.
        maxlen: largest number of ids; the last ones are kept, as by `pad_sequences` in Keras.
    """
    kept = ids[-maxlen:].astype(np.int32)
    kept[kept >= vocab_size] = UNKNOWN
    return kept
