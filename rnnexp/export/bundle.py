"""The bundle: a folder with all that a model needs to label raw texts.

manifest.json    origin, metrics, data, versions of the packages, and a hash of every file
config.yaml      the trial's settings
vocabulary.txt   one word per line, by rank
model.keras      from tokens to probabilities; loads in the safe mode of Keras
saved_model/     from strings to probabilities; needs only TensorFlow
"""

import importlib.metadata
import json
import os
import platform
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnexp import disk, quiet
from rnnexp.config.trial import TrialConfig, load_trial
from rnnexp.data.store import TokenStore
from rnnexp.data.text import Vocabulary
from rnnexp.errors import UserError

PYFUNC_CODE = Path(__file__).with_name("pyfunc_model.py")
"""The code that MLflow runs to label texts with a bundle."""

FORMATS = ("keras", "saved_model")
_VERSION = 1


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
        try:
            manifest = json.loads((root / "manifest.json").read_text(encoding="utf-8"))
            files: dict[str, str] = manifest["files"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = "no manifest.json" if isinstance(error, OSError) else f"damaged manifest.json: {error}"
            raise UserError(
                f"{root}: not a bundle ({reason}); create one with `rnnexp export STUDY --to DIR`"
            ) from None
        for name, digest in files.items():
            path = root / name
            if not path.is_file() or disk.file_hash(path) != digest:
                state = "was changed" if path.is_file() else "is missing"
                raise UserError(f"{root}: {name} {state} since the export; export again")
        return cls(root, manifest, load_trial(root / "config.yaml", {}))

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes."""
        return tuple(self.manifest["labels"])

    @property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary.load(self.root / "vocabulary.txt")

    @property
    def formats(self) -> tuple[str, ...]:
        """The formats of the model in the bundle."""
        return tuple(self.manifest["formats"])


def create(source: Source, to: Path, formats: Sequence[str]) -> Path:
    """Writes a bundle to a temporary folder next to `to`. The caller verifies it, then calls `publish`.

    Args:
        source: the trial.
        to: the final folder of the bundle.
        formats: some of `FORMATS`; `keras` is always written.

    Returns:
        The temporary folder.

    Raises:
        UserError: if the folder cannot be written.
    """
    try:
        work = disk.folder_beside(to)
    except OSError as error:
        raise UserError(f"{to}: cannot be written ({error.strerror}); name another folder with --to") from None
    try:
        vocabulary = source.store.vocabulary.cut(source.config.data.vocab_size)
        vocabulary.save(work / "vocabulary.txt")
        shutil.copyfile(source.model, work / "model.keras")
        (work / "config.yaml").write_text(source.config.to_yaml(), encoding="utf-8")
        if "saved_model" in formats:
            with quiet.standard_error():
                from rnnexp.export.saved_model import save

                save(work / "model.keras", vocabulary, source.config, source.store.task, work / "saved_model")
        written = ("keras", *(name for name in formats if name != "keras"))
        _write_manifest(work, source, written)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    return work


def publish(work: Path, to: Path) -> None:
    """Moves a verified bundle to its final folder; replaces the bundle of an earlier export.

    Raises:
        UserError: if the folder cannot be replaced.
    """
    free_place(to)
    try:
        disk.replace_folder(work, to)
    except OSError as error:
        raise UserError(f"{to}: cannot be replaced ({error.strerror}); name another folder with --to") from None


def free_place(to: Path) -> Path:
    """Checks that a folder can become a bundle: it is missing, empty, or a bundle of an earlier export.

    Returns:
        The folder itself. If `to` is a symbolic link, that is the folder that it leads to: the link stays.

    Raises:
        UserError: if the folder has other content, or a symbolic link leads to itself.
    """
    folder = Path(os.path.realpath(to))
    if folder.is_symlink():
        raise UserError(f"{to}: is a symbolic link that leads to itself; name another folder with --to")
    try:
        disk.recover_folder(folder)
        is_free = not folder.exists() or _is_bundle(folder) or (folder.is_dir() and not any(folder.iterdir()))
    except OSError as error:
        raise UserError(f"{to}: cannot be read ({error.strerror}); name another folder with --to") from None
    if not is_free:
        raise UserError(f"{to}: exists and is not a bundle; name another folder with --to")
    return folder


def _is_bundle(folder: Path) -> bool:
    """Tells whether an export created the folder; other programs write a manifest.json too."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        return "bundle" in manifest and "files" in manifest
    except (OSError, ValueError, TypeError):
        return False


def _write_manifest(work: Path, source: Source, formats: Sequence[str]) -> None:
    files = sorted(path for path in work.rglob("*") if path.is_file())
    packages = ("rnnexp", "keras", "tensorflow", "numpy")
    split = source.store.split(source.config.data)
    manifest = {
        "bundle": _VERSION,
        "created": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        **source.origin,
        "labels": list(source.store.labels),
        "formats": list(formats),
        "data": {
            "name": source.store.name,
            "digest": source.store.digest,
            "split": split.digest,
            "n_train": len(split.train),
            "n_validation": len(split.validation),
        },
        "versions": {"python": platform.python_version()}
        | {package: importlib.metadata.version(package) for package in packages},
        "files": {str(path.relative_to(work)): disk.file_hash(path) for path in files},
    }
    (work / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")
