"""Turns raw texts into batches of tokens, and probabilities into predictions; the same for all formats of a bundle."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rnnexp.data.padding import pad
from rnnexp.data.text import Vocabulary, cut, words
from rnnexp.errors import UserError
from rnnexp.runtime.manifest import TextInput

Run = Callable[[NDArray[np.int32]], NDArray[np.float32]]
"""A model: from tokens (B, T) to the probabilities of each label (B, C)."""


@dataclass(frozen=True)
class Prediction:
    """The prediction for one text.

    Attributes:
        text: the raw text.
        label: the most probable label.
        probability: the probability of that label.
        probabilities: the probability of each label.
    """

    text: str
    label: str
    probability: float
    probabilities: dict[str, float]


def load_vocabulary(root: Path) -> Vocabulary:
    """Reads the vocabulary of a bundle.

    Raises:
        UserError: if the file is not UTF-8 or cannot be read.
    """
    try:
        return Vocabulary.load(root / "vocabulary.txt")
    except UnicodeDecodeError as error:
        raise UserError(f"{root}: vocabulary.txt is not UTF-8 (byte {error.start}); export again") from None
    except OSError as error:
        raise UserError(f"{root}: vocabulary.txt cannot be read ({error.strerror})") from None


class TextModel:
    """A model that labels raw texts.

    Attributes:
        labels: the names of the classes.
    """

    def __init__(
        self,
        labels: Sequence[str],
        vocabulary: Vocabulary,
        text_input: TextInput,
        run: Run,
        *,
        batch_size: int = 256,
        lengths: Sequence[int] | None = None,
    ) -> None:
        """Args:
        labels: the names of the classes.
        vocabulary: its words have the ids of the model.
        text_input: how the model reads texts.
        run: the model.
        batch_size: largest number of texts B of a batch.
        lengths: the lengths T that a batch may have, ascending; None if any length is as good.
        """
        self.labels = tuple(labels)
        self._vocabulary, self._input, self._run = vocabulary, text_input, run
        self._batch_size, self._lengths = batch_size, lengths

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Returns a prediction for each text; raises as `probabilities` does."""
        return [
            Prediction(
                text,
                self.labels[int(np.argmax(row))],
                float(np.max(row)),
                {label: float(value) for label, value in zip(self.labels, row, strict=True)},
            )
            for text, row in zip(texts, self.probabilities(texts), strict=True)
        ]

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Returns the probabilities of each text, shape (n, C), with one column for each label.

        Raises:
            TypeError: if `texts` is one string instead of a list of strings.
        """
        if isinstance(texts, str):
            raise TypeError("got one string, expected a list of texts")
        data = self._input
        encoded = [self._vocabulary.encode(words(text)) for text in texts]
        sequences = [cut(ids, data.vocab_size, data.maxlen) for ids in encoded]
        order = np.argsort([len(sequence) for sequence in sequences], kind="stable")
        result = np.empty((len(texts), len(self.labels)), dtype=np.float32)
        for start in range(0, len(texts), self._batch_size):
            rows = order[start : start + self._batch_size]
            batch = [sequences[row] for row in rows]
            lengths = self._lengths or [max(len(sequence) for sequence in batch)]
            result[rows] = self._run(pad(batch, data.padding, data.maxlen, lengths))
        return result
