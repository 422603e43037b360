"""Loads the model of a bundle to label texts, and measures it on rows of a data set."""

import importlib.util

import numpy as np
from numpy.typing import NDArray

from rnnexp import quiet
from rnnexp.data.batches import Batches
from rnnexp.data.padding import bucket_lengths
from rnnexp.data.store import TokenStore
from rnnexp.export.bundle import Bundle
from rnnexp.runtime.encoding import TextModel

_BATCH_SIZE = 256


def uses_onnx(bundle: Bundle) -> bool:
    """Tells whether `load` takes the ONNX model."""
    return "onnx" in bundle.formats and importlib.util.find_spec("onnxruntime") is not None


def load(bundle: Bundle) -> TextModel:
    """Returns the model of a bundle: the ONNX model where there is one, which loads in a moment, else that of Keras.

    Raises:
        UserError: if it cannot be loaded.
    """
    if uses_onnx(bundle):
        from rnnexp.runtime import onnx_model

        return onnx_model.load_checked(bundle.root, bundle.manifest)
    from rnnexp.export.formats import keras

    return keras.text_model(bundle)


def evaluate(bundle: Bundle, store: TokenStore, rows: NDArray[np.int64]) -> dict[str, float]:
    """Returns accuracy and loss of the Keras model on rows of a store; the loss is the mean of -log p of the label.

    Raises:
        UserError: if the model cannot be loaded.
    """
    from rnnexp.export.formats import keras

    run, data = keras.run_of(bundle), bundle.config.data
    lengths = bucket_lengths(data.maxlen)
    part = Batches(store, rows, data.vocab_size, data.maxlen, _BATCH_SIZE, data.padding, lengths)
    n_correct, loss = 0, 0.0
    for batch in part.in_order():
        predicted = run(batch.tokens)
        n_correct += int(np.sum(np.argmax(predicted, axis=1) == batch.labels))
        of_label = predicted[np.arange(len(predicted)), batch.labels]
        loss -= float(np.sum(np.log(np.maximum(of_label, 1e-7))))
    return {"accuracy": n_correct / len(rows), "loss": loss / len(rows)}


def warm_up() -> None:
    """Loads what the first model needs: Keras, its reader of files, and TensorFlow's runtime."""
    importlib.import_module("h5py")  # Keras imports it when it reads a file
    with quiet.standard_error():
        import keras
        import tensorflow as tf

        keras.layers.Dense(1)(tf.zeros((1, 1)))
