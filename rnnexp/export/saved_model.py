"""A SavedModel that accepts strings: tokenizer, vocabulary, cutting, padding and network in one graph."""

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from rnnexp.config.trial import TrialConfig
from rnnexp.data.task import Task
from rnnexp.data.text import PUNCTUATION, RESERVED, SPACES, START, UNKNOWN, Vocabulary

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


def save(model: Path, vocabulary: Vocabulary, config: TrialConfig, task: Task, to: Path) -> None:
    """Writes the SavedModel.

    Args:
        model: a `.keras` file, from tokens (B, T) to probabilities.
        vocabulary: the words with an id below `data.vocab_size`.
        config: its data settings determine cutting and padding.
        task: determines the meaning of the outputs.
        to: the folder to write.
    """
    module = _TextModel(keras.saving.load_model(model, compile=False, safe_mode=True), vocabulary, config, task)
    tf.saved_model.save(module, str(to), signatures={"serving_default": module.serve})


def answer(folder: Path, texts: list[str]) -> Any:
    """Loads a SavedModel and returns its probabilities, shape (n, C)."""
    serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
    batches = [texts[start : start + 128] for start in range(0, len(texts), 128)]
    return tf.concat([serve(texts=tf.constant(batch))["probabilities"] for batch in batches], axis=0).numpy()
