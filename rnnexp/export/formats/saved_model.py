"""Format `saved_model`: a graph that accepts strings, with tokenizer, vocabulary, cutting, padding and network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from rnnexp.config.trial import TrialConfig, Value
from rnnexp.data.task import Task
from rnnexp.data.text import PUNCTUATION, RESERVED, SPACES, START, UNKNOWN, Vocabulary
from rnnexp.export.bundle import Bundle, Source
from rnnexp.export.formats import Probabilities
from rnnexp.export.formats import keras as keras_format
from rnnexp.model.build import build

PATH = "saved_model"
TOLERANCE = 1e-5
_BATCH_SIZE = 128
_WITHOUT_DROPOUT: dict[str, Value] = {"model.dropout": 0.0, "model.recurrent_dropout": 0.0}

_SEPARATORS = "[" + "".join(f"\\x{{{ord(character):x}}}" for character in PUNCTUATION + SPACES) + "]"


class _TextModel(tf.Module):  # type: ignore[misc]
    """The graph from `texts`, strings (n,), to `probabilities`, float (n, C), with one column for each label."""

    def __init__(self, model: Any, vocabulary: Vocabulary, config: TrialConfig, task: Task) -> None:
        super().__init__()
        self.model = model
        self._config, self._task = config, task
        keys = tf.constant(vocabulary.words, dtype=tf.string)
        ids = tf.range(RESERVED + 1, RESERVED + 1 + len(vocabulary.words), dtype=tf.int32)
        self.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, ids), default_value=UNKNOWN)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="texts")])  # type: ignore[untyped-decorator]
    def serve(self, texts: Any) -> dict[str, Any]:
        """Returns the probabilities of texts of any length."""
        separated = tf.strings.regex_replace(tf.strings.lower(texts, encoding="utf-8"), _SEPARATORS, " ")
        words = tf.strings.split(separated)
        ids = words.with_flat_values(self.table.lookup(words.flat_values))
        starts = tf.RaggedTensor.from_tensor(tf.fill([tf.shape(texts)[0], 1], START))
        maxlen = self._config.data.maxlen
        cut = tf.concat([starts, ids], axis=1)[:, -maxlen:]
        if self._config.data.padding == "fixed":
            tokens = tf.reverse(cut[:, ::-1].to_tensor(shape=[None, maxlen]), axis=[1])
        else:
            tokens = cut.to_tensor()
        outputs = self.model(tokens, training=False)
        return {"probabilities": tf.concat([1.0 - outputs, outputs], axis=1) if self._task.binary else outputs}


def write(root: Path, source: Source, formats: Sequence[str]) -> None:
    """Writes the SavedModel, from the bundle's Keras file."""
    trained = keras.saving.load_model(root / keras_format.PATH, compile=False, safe_mode=True)
    task = source.store.task
    # A SavedModel cannot hold the random state of recurrent dropout, which only training needs.
    model = build(source.config.with_settings(_WITHOUT_DROPOUT), task.n_outputs, task.activation)
    model.set_weights(trained.get_weights())
    module = _TextModel(model, source.vocabulary, source.config, task)
    tf.saved_model.save(module, str(root / PATH), signatures={"serving_default": module.serve})


def load(bundle: Bundle) -> Probabilities:
    """Loads the SavedModel as TensorFlow Serving does."""
    serve = tf.saved_model.load(str(bundle.root / PATH)).signatures["serving_default"]

    def probabilities(texts: Sequence[str]) -> NDArray[np.float32]:
        batches = [texts[start : start + _BATCH_SIZE] for start in range(0, len(texts), _BATCH_SIZE)]
        found = [serve(texts=tf.constant(batch))["probabilities"] for batch in batches]
        return cast(NDArray[np.float32], tf.concat(found, axis=0).numpy())

    return probabilities
