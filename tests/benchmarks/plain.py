"""The plain loop: what most people write, a Keras model on padded arrays, trained with `fit` in one process.

The network and its data are those of common tutorials: texts padded on the left to maxlen, no mask, all data in memory.
The rivals' programs train with these functions too, so that the benchmarks compare launchers, not models.
"""

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

VOCAB_SIZE, BATCH_SIZE, N_TRAIN = 10_000, 128, 20_000

CONFIGURATIONS: tuple[dict[str, Any], ...] = (
    {"cell": "simple_rnn", "units": 32, "embedding_dim": 64, "maxlen": 500, "clip": "none", "threshold": None},
    {"cell": "simple_rnn", "units": 64, "embedding_dim": 32, "maxlen": 200, "clip": "global_norm", "threshold": 1.0},
    {"cell": "gru", "units": 32, "embedding_dim": 64, "maxlen": 300, "clip": "none", "threshold": None},
    {"cell": "gru", "units": 64, "embedding_dim": 32, "maxlen": 200, "clip": "value", "threshold": 0.5},
    {"cell": "lstm", "units": 32, "embedding_dim": 64, "maxlen": 500, "clip": "none", "threshold": None},
    {"cell": "lstm", "units": 64, "embedding_dim": 64, "maxlen": 300, "clip": "global_norm", "threshold": 1.0},
    {"cell": "lstm", "units": 128, "embedding_dim": 64, "maxlen": 200, "clip": "none", "threshold": None},
    {"cell": "simple_rnn", "units": 128, "embedding_dim": 128, "maxlen": 400, "clip": "global_norm", "threshold": 5.0},
)
"""The eight configurations of the benchmark `rivals`."""

EPOCHS = 2

Arrays = tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def data(maxlen: int, n_train: int = N_TRAIN) -> Arrays:
    """Returns IMDB's training pool as (x, y) for training, at most 20,000 texts, and (x, y) for validation, 5,000."""
    import keras

    x, y = pool()
    x = keras.utils.pad_sequences(x, maxlen=maxlen)
    return (x[:n_train], y[:n_train]), (x[N_TRAIN:], y[N_TRAIN:])


@lru_cache(maxsize=1)
def pool() -> tuple[np.ndarray, np.ndarray]:
    """Loads IMDB's training pool, once per process."""
    import keras

    file = str(Path(os.environ["RNNEXP_DATA"]).absolute() / "imdb.npz")
    with mock.patch("keras.src.datasets.imdb.get_file", return_value=file):  # the loader reads only Keras' own cache
        pool, _ = keras.datasets.imdb.load_data(num_words=VOCAB_SIZE)
    return pool


def model(settings: Mapping[str, Any], optimizer_class: Any = None) -> Any:
    """Returns the compiled network. The settings may include `dropout` and `learning_rate`.

    Args:
        settings: of the network and the optimizer.
        optimizer_class: a class with the arguments of RMSprop, which is the default.
    """
    import keras

    layer = {"simple_rnn": keras.layers.SimpleRNN, "gru": keras.layers.GRU, "lstm": keras.layers.LSTM}
    clip_arguments = {"none": None, "value": "clipvalue", "norm": "clipnorm", "global_norm": "global_clipnorm"}
    clip = clip_arguments[settings["clip"]]
    rate = settings.get("dropout", 0.0)
    dropout = [keras.layers.Dropout(rate)] if rate else []
    network = keras.Sequential(
        [
            keras.layers.Embedding(VOCAB_SIZE, settings["embedding_dim"]),
            *dropout,
            layer[settings["cell"]](settings["units"]),
            *dropout,
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    optimizer = (optimizer_class or keras.optimizers.RMSprop)(
        settings.get("learning_rate", 1e-3), **({clip: settings["threshold"]} if clip else {})
    )
    network.compile(optimizer, loss="binary_crossentropy", metrics=["accuracy"])
    return network


def train(settings: Mapping[str, Any], epochs: int, seed: int, callbacks: Sequence[Any] = ()) -> list[float]:
    """Trains one configuration; returns its validation accuracy after each epoch.

    The settings may include `n_train`, the number of training texts to use.
    """
    import keras

    keras.utils.set_random_seed(seed)
    (x, y), validation = data(settings["maxlen"], settings.get("n_train", N_TRAIN))
    history = model(settings).fit(
        x, y, batch_size=BATCH_SIZE, epochs=epochs, validation_data=validation, callbacks=list(callbacks), verbose=0
    )
    return [float(value) for value in history.history["val_accuracy"]]
