"""The plain loop with one thing changed: batches of similar length, or whole gradients. Plain Keras in both cases."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tests.benchmarks import plain

_BATCHES_IN_POOL = 50


def train_by_length(settings: Mapping[str, Any], epochs: int, seed: int, callbacks: Sequence[Any] = ()) -> list[float]:
    """Trains as `plain.train` does, but pads each batch of similar lengths to its own longest text only."""
    import keras

    keras.utils.set_random_seed(seed)
    texts, labels = plain.pool()
    n_train, maxlen = settings.get("n_train", plain.N_TRAIN), settings["maxlen"]
    history = plain.model(settings).fit(
        dataset(texts[:n_train], labels[:n_train], maxlen, seed),
        validation_data=dataset(texts[plain.N_TRAIN :], labels[plain.N_TRAIN :], maxlen, seed),
        epochs=epochs,
        callbacks=list(callbacks),
        shuffle=False,  # the data set does that itself
        verbose=0,
    )
    return [float(value) for value in history.history["val_accuracy"]]


def dataset(texts: Sequence[Sequence[int]], labels: np.ndarray, maxlen: int, seed: int) -> Any:
    """Returns the texts as a Keras data set of batches of similar length, in a new order in each epoch."""
    import keras

    lengths = np.minimum([len(text) for text in texts], maxlen)

    class ByLength(keras.utils.PyDataset):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._random = np.random.default_rng(seed)
            self.on_epoch_end()

        def on_epoch_end(self) -> None:
            self._batches = batches_by_length(lengths, self._random)

        def __len__(self) -> int:
            return len(self._batches)

        def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
            rows = self._batches[index]
            longest = int(lengths[rows].max())
            return keras.utils.pad_sequences([texts[row] for row in rows], maxlen=longest), labels[rows]

    return ByLength()


def batches_by_length(lengths: np.ndarray, random: np.random.Generator) -> list[np.ndarray]:
    """Returns the rows of each batch: random pools of 50 batches, sorted by length, in a random order."""
    order = random.permutation(len(lengths))
    size = _BATCHES_IN_POOL * plain.BATCH_SIZE
    batches = []
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        batches += [rows[first : first + plain.BATCH_SIZE] for first in range(0, len(rows), plain.BATCH_SIZE)]
    return [batches[index] for index in random.permutation(len(batches))]


def train_whole_gradients(
    settings: Mapping[str, Any], epochs: int, seed: int, callbacks: Sequence[Any] = ()
) -> list[float]:
    """Trains as `plain.train` does, but adds up the gradient of a repeated word before the optimizer sees it.

    Keras' RMSprop squares the rows of an `IndexedSlices` gradient one by one and then adds the squares. The textbook
    squares the sum. Keras' clipping bounds the rows, too, and here the sum.
    """
    import keras

    keras.utils.set_random_seed(seed)
    (x, y), validation = plain.data(settings["maxlen"], settings.get("n_train", plain.N_TRAIN))
    history = plain.model(settings, whole_gradient_optimizer()).fit(
        x,
        y,
        batch_size=plain.BATCH_SIZE,
        epochs=epochs,
        validation_data=validation,
        callbacks=list(callbacks),
        verbose=0,
    )
    return [float(value) for value in history.history["val_accuracy"]]


def whole_gradient_optimizer() -> Any:
    """Returns the class RMSprop that receives dense gradients only."""
    import keras
    import tensorflow as tf

    class WholeGradients(keras.optimizers.RMSprop):  # type: ignore[misc]
        def apply(self, grads: Sequence[Any], trainable_variables: Any = None) -> Any:
            dense = [tf.convert_to_tensor(grad) if isinstance(grad, tf.IndexedSlices) else grad for grad in grads]
            return super().apply(dense, trainable_variables)

    return WholeGradients
