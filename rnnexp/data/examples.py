"""An example text of a data set, which is shown to the user as an input for a trained model."""

import numpy as np
from numpy.typing import NDArray

from rnnexp.config.trial import DataConfig
from rnnexp.data.store import TokenStore
from rnnexp.data.text import UNKNOWN_WORD

_MIN_WORDS = 4
_MAX_WORDS = 12
_MAX_CHARACTERS = 90
_MAX_ROWS = 200
"""Number of texts that are decoded; IMDB has thousands."""

_DEFAULT = "some text"


def example_text(store: TokenStore, data: DataConfig) -> str:
    """Returns the first words of a short held-out text, for the command line of `rnnexp predict`.

    It prefers a text whose words are all in the vocabulary, and one without quotes, which are hard to read in a shell.

    Args:
        store: the data set.
        data: the settings that select its validation part.

    Returns:
        4 to 12 words, if a text is long enough; printable, on one line.
    """
    texts = [text for row in _short_rows(store, data) if (text := _first_words(store, row))]
    best = min(texts, key=_n_defects, default="")
    return " ".join(word for word in best.split() if word != UNKNOWN_WORD) or _DEFAULT


def _short_rows(store: TokenStore, data: DataConfig) -> NDArray[np.int64]:
    """Returns the validation rows with enough words, shortest first; the longest rows if none has enough."""
    rows = store.split(data).validation
    lengths = store.lengths(rows, data.maxlen)
    order = np.argsort(lengths, kind="stable")
    long_enough = order[lengths[order] > _MIN_WORDS]  # the start token counts too
    return rows[long_enough if len(long_enough) else order[::-1]][:_MAX_ROWS]


def _first_words(store: TokenStore, row: np.int64) -> str:
    text = store.vocabulary.decode(store.token_ids(int(row))[: 1 + _MAX_WORDS])
    words = "".join(character if character.isprintable() else " " for character in text).split()
    while len(" ".join(words)) > _MAX_CHARACTERS:
        words.pop()
    return " ".join(words)


def _n_defects(text: str) -> int:
    return sum(UNKNOWN_WORD in word for word in text.split()) + sum(text.count(quote) for quote in "'\"`$\\")
