"""Format `keras`: the file that training has saved, from tokens to the outputs of the head."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from rnnexp import quiet
from rnnexp.data.padding import bucket_lengths
from rnnexp.data.task import Task
from rnnexp.errors import UserError, escaped, short
from rnnexp.export.bundle import MODEL, Bundle, Source
from rnnexp.export.formats import Probabilities
from rnnexp.runtime.encoding import Run, TextModel

PATH = MODEL
TOLERANCE = 1e-5


def write(root: Path, source: Source, formats: Sequence[str]) -> None:
    """Copies the file."""
    shutil.copyfile(source.model, root / PATH)


def load(bundle: Bundle) -> Probabilities:
    """Loads the model in the safe mode of Keras."""
    return text_model(bundle).probabilities


def text_model(bundle: Bundle) -> TextModel:
    """Returns the model, loaded in the safe mode of Keras.

    Raises:
        UserError: if it cannot be loaded, or its outputs are not those of the labels.
    """
    lengths = bucket_lengths(bundle.config.data.maxlen)
    return TextModel(bundle.labels, bundle.vocabulary, bundle.text_input, run_of(bundle), lengths=lengths)


def run_of(bundle: Bundle) -> Run:
    """Returns the model as a function of tokens; raises as `text_model` does."""
    task = Task(bundle.labels)
    with quiet.standard_error():
        try:
            import keras
            import tensorflow  # noqa: F401 - it logs during its import
        except ModuleNotFoundError as error:
            raise UserError(
                f"{bundle.root}: its Keras model needs {error.name}, which is not installed; install it, or export "
                "again with --format onnx"
            ) from None

        model = _load(keras, bundle, task)
    return lambda tokens: by_label(np.asarray(model.predict_on_batch(tokens)), task)


def _load(keras: Any, bundle: Bundle, task: Task) -> Any:
    """Loads the model and calls it once; a model from anywhere can fail in many ways."""
    path = bundle.root / PATH
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
        shape = np.shape(model.predict_on_batch(np.ones((1, bundle.config.data.maxlen), dtype=np.int32)))
    except Exception as error:
        reason = short(escaped(f"{type(error).__name__}: {' '.join(str(error).split())}"))
        raise UserError(f"{path}: cannot be loaded ({reason}); export again") from None
    if shape != (1, task.n_outputs):
        raise UserError(f"{path}: has the outputs {shape}, expected {(1, task.n_outputs)}; export again")
    return model


def by_label(outputs: NDArray[np.float32], task: Task) -> NDArray[np.float32]:
    """Returns the outputs of the head with one column for each label, shape (n, C)."""
    return cast(NDArray[np.float32], np.concatenate([1 - outputs, outputs], axis=1) if task.binary else outputs)
