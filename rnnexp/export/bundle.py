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
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from rnnexp import disk, quiet
from rnnexp.config.trial import TrialConfig, load_trial
from rnnexp.data.store import TokenStore
from rnnexp.data.text import Vocabulary
from rnnexp.errors import UserError, escaped, short, shown

PYFUNC_CODE = Path(__file__).with_name("pyfunc_model.py")
"""The code that MLflow runs to label texts with a bundle."""

FORMATS = ("keras", "saved_model")
_VERSION = 1
_MAX_MANIFEST_BYTES = 10_000_000


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
        manifest = _read_manifest(root)
        for name, digest in manifest["files"].items():
            found = _digest(root / name)
            if found != digest:
                state = "is missing" if found is None else "was changed"
                raise UserError(f"{root}: {short(name)} {state} since the export; export again")
        return cls(root, manifest, load_trial(root / "config.yaml", {}))

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes."""
        return tuple(self.manifest["labels"])

    @property
    def vocabulary(self) -> Vocabulary:
        try:
            return Vocabulary.load(self.root / "vocabulary.txt")
        except UnicodeDecodeError as error:
            raise UserError(f"{self.root}: vocabulary.txt is not UTF-8 (byte {error.start}); export again") from None

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


def _read_manifest(root: Path) -> dict[str, Any]:
    """Returns the manifest, and checks what the program reads of it; a bundle can come from anywhere."""
    try:
        with (root / "manifest.json").open("rb") as file:
            manifest = json.loads(file.read(_MAX_MANIFEST_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        reason = "no manifest.json" if isinstance(error, OSError) else f"damaged manifest.json: {escaped(str(error))}"
        raise UserError(f"{root}: not a bundle ({reason}); create one with `rnnexp export STUDY --to DIR`") from None
    fault = _manifest_fault(manifest)
    if fault:
        raise UserError(
            f"{root}: not a bundle (damaged manifest.json: {fault}); create one with `rnnexp export STUDY --to DIR`"
        )
    return dict(manifest)


def _manifest_fault(manifest: Any) -> str | None:
    """Returns what is wrong with a manifest, or None."""
    if not isinstance(manifest, dict):
        return f"got {shown(manifest)}, expected a mapping"
    read: dict[str, Any] = manifest
    files, labels, formats, data = read.get("files"), read.get("labels"), read.get("formats"), read.get("data")
    if not isinstance(files, dict) or not all(isinstance(digest, str) for digest in files.values()):
        return f"files: got {shown(files)}, expected a hash for each file"
    outside = [
        name for name in files if name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name) or "\0" in name
    ]
    if outside:
        return f"files: got {shown(outside[0])}, expected names inside the bundle"
    missing = [name for name in ("config.yaml", "vocabulary.txt", "model.keras") if name not in files]
    if missing:
        return f"files: without {missing[0]}"
    if not _are_texts(labels) or len(set(labels)) != len(labels) or len(labels) < 2:
        return f"labels: got {shown(labels)}, expected two or more names"
    if not _are_texts(formats) or not set(formats) <= set(FORMATS):
        return f"formats: got {shown(formats)}, expected some of {', '.join(FORMATS)}"
    if not isinstance(data, dict) or not _are_texts([data.get("name"), data.get("digest")]):
        return f"data: got {shown(data)}, expected name and digest"
    return None


def _digest(path: Path) -> str | None:
    """Returns the hash of a file, or None if it is missing, no file, or cannot be read."""
    try:
        return disk.file_hash(path) if path.is_file() else None
    except OSError:
        return None


def _are_texts(values: Any) -> TypeGuard[list[str]]:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


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
