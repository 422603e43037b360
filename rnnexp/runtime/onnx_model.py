"""Loads the ONNX model of a bundle with ONNX Runtime."""

from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from rnnexp.errors import UserError, escaped, short
from rnnexp.runtime import manifest
from rnnexp.runtime.encoding import TextModel, load_vocabulary

FILE = "model.onnx"
TOKENS, PROBABILITIES = "tokens", "probabilities"
"""The input (B, T), int32, and the output (B, C), float32, of the model."""

_FATAL_ONLY = 4
_BATCH_SIZE = 32
"""A call uses the thread of its caller; several threads may call a model at the same time."""


def load(root: Path) -> TextModel:
    """Opens the bundle in a folder and loads its ONNX model.

    Raises:
        UserError: if the folder is not a bundle with an ONNX model that runs, or ONNX Runtime is not installed.
    """
    return load_checked(root, manifest.read(root))


def load_checked(root: Path, contents: dict[str, Any]) -> TextModel:
    """The same, for a bundle whose manifest was read: that compares the hash of each file."""
    text_input = manifest.text_input(contents)
    if "onnx" not in contents["formats"] or text_input is None:
        raise UserError(f"{root}: has no ONNX model; export again with --format onnx")
    labels = contents["labels"]
    session = _session(root / FILE)

    def run(tokens: NDArray[np.int32]) -> NDArray[np.float32]:
        try:
            return cast(NDArray[np.float32], session.run([PROBABILITIES], {TOKENS: tokens})[0])
        except Exception as error:
            raise UserError(_cannot_be_loaded(root, error)) from None

    probe = run(np.array([[1, text_input.vocab_size - 1]], np.int32))  # the first and the last id
    found = _fault(probe, len(labels))
    if found:
        raise UserError(f"{root / FILE}: has {found}, expected {len(labels)} probabilities of a text; export again")
    return TextModel(labels, load_vocabulary(root), text_input, run, batch_size=_BATCH_SIZE)


def _fault(probe: Any, n_labels: int) -> str:
    """Returns what is wrong with the probabilities of one text; empty if they are right."""
    if not isinstance(probe, np.ndarray) or probe.dtype.kind != "f":
        return "outputs that are no numbers"
    if probe.shape != (1, n_labels):
        return f"outputs of shape {probe.shape}"
    return "" if np.all(np.isfinite(probe)) else "outputs that are not finite"


def _session(path: Path) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise UserError("onnxruntime is not installed; run: pip install onnxruntime") from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL_ONLY  # errors are exceptions, too
    options.intra_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise UserError(_cannot_be_loaded(path.parent, error)) from None


def _cannot_be_loaded(root: Path, error: Exception) -> str:
    reason = short(escaped(f"{type(error).__name__}: {' '.join(str(error).split())}"))
    return f"{root / FILE}: cannot be loaded ({reason}); export again"
