"""Format `mlflow`: a model that MLflow serves and runs, from strings to labels, with all that it needs inside.

It contains a bundle of its own, and this program as a wheel, which no package index has. Where that bundle has an ONNX
model, its environment needs no TensorFlow.
"""

import contextlib
import importlib.metadata
import io
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnexp.export import wheel
from rnnexp.export.bundle import Bundle, Source, write_manifest
from rnnexp.export.formats import Probabilities
from rnnexp.export.formats import keras as keras_format
from rnnexp.runtime.onnx_model import FILE as ONNX_FILE

PATH = "mlflow"
TOLERANCE = 1e-4
"""That of the format `onnx`, which it may contain."""

_CODE = Path(__file__).parents[1] / "pyfunc_model.py"
_CONTENTS = ("config.yaml", "vocabulary.txt", keras_format.PATH)
_WHEELS = "wheels"
_PACKAGES = ("mlflow", "numpy", "pydantic", "PyYAML")
_OF_FORMAT = {"onnx": ("onnxruntime",), "keras": ("tensorflow", "keras")}


def write(root: Path, source: Source, formats: Sequence[str]) -> None:
    """Writes the model."""
    inner = ["keras", *(["onnx"] if "onnx" in formats else [])]
    with tempfile.TemporaryDirectory(prefix="rnnexp-mlflow-") as temporary:
        bundle = Path(temporary) / "bundle"
        bundle.mkdir()
        for name in (*_CONTENTS, *([ONNX_FILE] if "onnx" in inner else [])):
            shutil.copyfile(root / name, bundle / name)
        write_manifest(bundle, source, inner)
        write_model(root / PATH, bundle)


def write_model(folder: Path, bundle: Path, logged: Any = None) -> None:
    """Writes an MLflow model with a bundle.

    Args:
        folder: to write.
        bundle: a checked bundle.
        logged: the model that MLflow has created for it, or None.
    """
    import mlflow

    with tempfile.TemporaryDirectory(prefix="rnnexp-wheel-") as temporary:
        program = wheel.write(Path(temporary))
        identity = {} if logged is None else {"mlflow_model": _of_logged(mlflow, logged)}
        # MLflow installs the requirements in the model's folder, so the wheel is found there.
        formats = Bundle.open(bundle).formats
        packages = (*_PACKAGES, *_OF_FORMAT["onnx" if "onnx" in formats else "keras"])
        pins = [f"{name}=={importlib.metadata.version(name)}" for name in packages]
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mlflow.pyfunc.save_model(
                str(folder),
                python_model=str(_CODE),
                artifacts={"bundle": str(bundle)},
                pip_requirements=[f"{_WHEELS}/{program.name}", *pins],
                **identity,
            )
        (folder / _WHEELS).mkdir()
        shutil.copyfile(program, folder / _WHEELS / program.name)


def _of_logged(mlflow: Any, logged: Any) -> Any:
    return mlflow.models.Model(
        artifact_path=logged.artifact_location,
        model_uuid=logged.model_id,
        run_id=logged.source_run_id,
        model_id=logged.model_id,
    )


def load(bundle: Bundle) -> Probabilities:
    """Loads the model as MLflow does."""
    import mlflow

    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = mlflow.pyfunc.load_model(str(bundle.root / PATH))

    def probabilities(texts: Sequence[str]) -> NDArray[np.float32]:
        found = [answer.probabilities for answer in model.predict(list(texts))]
        return np.array([[one[label] for label in bundle.labels] for one in found], np.float32)

    return probabilities
