"""A bundle in use: texts in, labels and probabilities out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from rnnexp import quiet
from rnnexp.data.batches import Batches, bucket_lengths, pad
from rnnexp.data.store import TokenStore
from rnnexp.data.task import Task
from rnnexp.data.text import cut, words
from rnnexp.export.bundle import Bundle

_BATCH_SIZE = 256


@dataclass(frozen=True)
class Prediction:
    """What a model says of one text.

    Attributes:
        text: as it was given.
        label: the likeliest.
        probability: of that label.
        probabilities: of every label.
    """

    text: str
    label: str
    probability: float
    probabilities: dict[str, float]


class Predictor:
    """A bundle's model, loaded in safe mode."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        with quiet.standard_error():
            import keras
            import tensorflow  # noqa: F401 - its chatter comes with its import

            self._model: Any = keras.saving.load_model(bundle.root / "model.keras", compile=False, safe_mode=True)
            self._model.predict_on_batch(np.ones((1, bundle.config.data.maxlen), dtype=np.int32))
        self._vocabulary = bundle.vocabulary
        self._task = Task(bundle.labels)
        self._data = bundle.config.data
        self._buckets = bucket_lengths(self._data.maxlen)

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Returns a prediction for each text."""
        labels = self.bundle.labels
        return [
            Prediction(
                text,
                labels[int(np.argmax(row))],
                float(np.max(row)),
                {label: float(value) for label, value in zip(labels, row, strict=True)},
            )
            for text, row in zip(texts, self.probabilities(texts), strict=True)
        ]

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Returns each text's probabilities, (n, C), one column a label."""
        encoded = [self._vocabulary.encode(words(text)) for text in texts]
        reviews = [cut(ids, self._data.vocab_size, self._data.maxlen) for ids in encoded]
        order = np.argsort([len(review) for review in reviews], kind="stable")
        found = np.empty((len(texts), len(self.bundle.labels)), dtype=np.float32)
        for start in range(0, len(texts), _BATCH_SIZE):
            rows = order[start : start + _BATCH_SIZE]
            tokens = pad([reviews[row] for row in rows], self._data.padding, self._data.maxlen, self._buckets)
            found[rows] = self._answer(tokens)
        return found

    def evaluate(self, store: TokenStore, rows: NDArray[np.int64]) -> dict[str, float]:
        """Returns accuracy and loss (mean negative log-likelihood, natural) on rows of a store."""
        data = self._data
        part = Batches(store, rows, data.vocab_size, data.maxlen, _BATCH_SIZE, data.padding, self._buckets)
        right, loss = 0, 0.0
        for batch in part.in_order():
            found = self._answer(batch.tokens)
            right += int(np.sum(np.argmax(found, axis=1) == batch.labels))
            loss -= float(np.sum(np.log(np.maximum(found[np.arange(len(found)), batch.labels], 1e-7))))
        return {"accuracy": right / len(rows), "loss": loss / len(rows)}

    def _answer(self, tokens: NDArray[np.int32]) -> NDArray[np.float32]:
        found = np.asarray(self._model.predict_on_batch(tokens))
        return by_label(found, self._task)


def by_label(found: NDArray[np.float32], task: Task) -> NDArray[np.float32]:
    """Returns the head's output as one column a label, (n, C)."""
    return cast(NDArray[np.float32], np.concatenate([1 - found, found], axis=1) if task.binary else found)
