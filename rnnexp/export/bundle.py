"""The bundle: a folder with all that a model needs to label raw texts.

manifest.json    origin, metrics, data, versions of the packages, measurements of each format, and a hash of every file
README.md        the model card
config.yaml      the trial's settings
vocabulary.txt   one word per line, by rank
model.keras      from tokens to probabilities; loads in the safe mode of Keras
saved_model/     from strings to probabilities; needs only TensorFlow
model.onnx       from tokens to probabilities; `python -m rnnexp.runtime` labels texts with it, without TensorFlow
mlflow/          an MLflow model, from strings to labels
"""

import importlib.metadata
import json
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnexp import disk
from rnnexp.config.trial import TrialConfig, load_trial
from rnnexp.data.store import TokenStore
from rnnexp.data.text import Vocabulary
from rnnexp.errors import UserError
from rnnexp.runtime import manifest
from rnnexp.runtime.encoding import load_vocabulary
from rnnexp.runtime.manifest import TextInput

CARD, MODEL = "README.md", "model.keras"
_VERSION = 1
_PACKAGES = ("rnnexp", "keras", "tensorflow", "numpy")


@dataclass(frozen=True)
class Source:
    """The trial that a bundle is created from.

    Attributes:
        config: its settings.
        model: the file of its best model.
        held_out: the file of its probabilities on the validation part.
        store: its data.
        origin: study, trial, run and metrics, for the manifest.
    """

    config: TrialConfig
    model: Path
    held_out: Path
    store: TokenStore
    origin: Mapping[str, Any]

    @property
    def vocabulary(self) -> Vocabulary:
        """The words whose ids the model knows."""
        return self.store.vocabulary.cut(self.config.data.vocab_size)


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk."""

    root: Path
    manifest: dict[str, Any]
    config: TrialConfig

    @classmethod
    def open(cls, root: Path) -> "Bundle":
        """Opens a bundle and checks the hash of every file.

        Raises:
            UserError: if the folder is not a bundle, or a file was changed.
        """
        found = cls(root, manifest.read(root), load_trial(root / "config.yaml", {}))
        if manifest.text_input(found.manifest) not in (None, found.text_input):
            raise UserError(f"{root}: manifest.json and config.yaml differ in how texts are read; export again")
        return found

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes."""
        return tuple(self.manifest["labels"])

    @property
    def vocabulary(self) -> Vocabulary:
        return load_vocabulary(self.root)

    @property
    def text_input(self) -> TextInput:
        """How the model reads texts."""
        data = self.config.data
        return TextInput(data.vocab_size, data.maxlen, data.padding)

    @property
    def formats(self) -> tuple[str, ...]:
        """The formats of the model in the bundle."""
        return tuple(self.manifest["formats"])


def versions(formats: Sequence[str]) -> dict[str, str]:
    """Returns the versions of Python and of the packages that make a bundle with these formats."""
    packages = (*_PACKAGES, *(("onnx", "onnxruntime") if "onnx" in formats else ()))
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in packages}


def write_manifest(
    work: Path, source: Source, formats: Sequence[str], measured: Mapping[str, Mapping[str, Any]] | None = None
) -> None:
    """Writes the manifest of a folder with all other files of a bundle.

    Args:
        work: the folder.
        source: the trial.
        formats: the formats that the folder has.
        measured: size, accuracy and latency of each format; None if they were not measured.
    """
    files = sorted(path for path in work.rglob("*") if path.is_file() and path != work / manifest.NAME)
    split, data = source.store.split(source.config.data), source.config.data
    contents = {
        "bundle": _VERSION,
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        **source.origin,
        "labels": list(source.store.labels),
        "formats": list(formats),
        "input": {"vocab_size": data.vocab_size, "maxlen": data.maxlen, "padding": data.padding},
        "data": {
            "name": source.store.name,
            "digest": source.store.digest,
            "split": split.digest,
            "n_train": len(split.train),
            "n_validation": len(split.validation),
        },
        **({} if measured is None else {"measured": measured}),
        "versions": versions(formats),
        "files": {str(path.relative_to(work)): disk.file_hash(path) for path in files},
    }
    (work / manifest.NAME).write_text(json.dumps(contents, indent=1), encoding="utf-8")
