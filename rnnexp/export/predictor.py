"""Labels raw texts with the model of a bundle."""

import importlib
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
from rnnexp.errors import UserError, escaped, short
from rnnexp.export.bundle import Bundle

_BATCH_SIZE = 256


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


class Predictor:
    """The model of a bundle, loaded in the safe mode of Keras."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        with quiet.standard_error():
            import keras
            import tensorflow  # noqa: F401 - it logs during its import

            self._model: Any = _load(keras, bundle)
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
        """Returns the probabilities of each text, shape (n, C), with one column for each label."""
        encoded = [self._vocabulary.encode(words(text)) for text in texts]
        sequences = [cut(ids, self._data.vocab_size, self._data.maxlen) for ids in encoded]
        order = np.argsort([len(sequence) for sequence in sequences], kind="stable")
        result = np.empty((len(texts), len(self.bundle.labels)), dtype=np.float32)
        for start in range(0, len(texts), _BATCH_SIZE):
            rows = order[start : start + _BATCH_SIZE]
            tokens = pad([sequences[row] for row in rows], self._data.padding, self._data.maxlen, self._buckets)
            result[rows] = self._run(tokens)
        return result

    def evaluate(self, store: TokenStore, rows: NDArray[np.int64]) -> dict[str, float]:
        """Returns accuracy and loss (mean negative log-likelihood, natural logarithm) on rows of a store."""
        data = self._data
        part = Batches(store, rows, data.vocab_size, data.maxlen, _BATCH_SIZE, data.padding, self._buckets)
        n_correct, loss = 0, 0.0
        for batch in part.in_order():
            predicted = self._run(batch.tokens)
            n_correct += int(np.sum(np.argmax(predicted, axis=1) == batch.labels))
            of_label = predicted[np.arange(len(predicted)), batch.labels]
            loss -= float(np.sum(np.log(np.maximum(of_label, 1e-7))))
        return {"accuracy": n_correct / len(rows), "loss": loss / len(rows)}

    def _run(self, tokens: NDArray[np.int32]) -> NDArray[np.float32]:
        return by_label(np.asarray(self._model.predict_on_batch(tokens)), self._task)


def warm_up() -> None:
    """Loads what the first model needs: Keras, its reader of files, and TensorFlow's runtime."""
    importlib.import_module("h5py")  # Keras imports it when it reads a file
    with quiet.standard_error():
        import keras
        import tensorflow as tf

        keras.layers.Dense(1)(tf.zeros((1, 1)))


def _load(keras: Any, bundle: Bundle) -> Any:
    """Loads the model and calls it once; a model from anywhere can fail in many ways.

    Raises:
        UserError: if it cannot be loaded, or its outputs are not those of the labels.
    """
    path, n_outputs = bundle.root / "model.keras", Task(bundle.labels).n_outputs
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
        shape = np.shape(model.predict_on_batch(np.ones((1, bundle.config.data.maxlen), dtype=np.int32)))
    except Exception as error:
        reason = short(escaped(f"{type(error).__name__}: {' '.join(str(error).split())}"))
        raise UserError(f"{path}: cannot be loaded ({reason}); export again") from None
    if shape != (1, n_outputs):
        raise UserError(f"{path}: has the outputs {shape}, expected {(1, n_outputs)}; export again")
    return model


def by_label(outputs: NDArray[np.float32], task: Task) -> NDArray[np.float32]:
    """Returns the outputs of the head with one column for each label, shape (n, C)."""
    return cast(NDArray[np.float32], np.concatenate([1 - outputs, outputs], axis=1) if task.binary else outputs)
