"""The manifest of a bundle: what it says, and whether the files of the bundle are those that were exported."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from rnnexp import disk
from rnnexp.errors import UserError, escaped, is_unicode, short, shown

FORMATS = ("keras", "saved_model", "onnx", "mlflow")
"""The formats that a bundle can have; `rnnexp.export.formats` has a module for each."""

NAME = "manifest.json"
_MAX_BYTES = 10_000_000
_REQUIRED = ("config.yaml", "vocabulary.txt", "model.keras")
_PADDINGS = ("bucketed", "fixed")
_CREATE = "create one with `rnnexp export STUDY --to DIR`"


@dataclass(frozen=True)
class TextInput:
    """How the model of a bundle reads texts.

    Attributes:
        vocab_size: V.
        maxlen: largest number of tokens of a text; the last ones are kept.
        padding: `bucketed` or `fixed`, see `data.padding`.
    """

    vocab_size: int
    maxlen: int
    padding: str


def read(root: Path) -> dict[str, Any]:
    """Returns the manifest of a bundle, and compares the hash of each file; a bundle can come from anywhere.

    Raises:
        UserError: if the folder is not a bundle, or a file was changed.
    """
    try:
        with (root / NAME).open("rb") as file:
            manifest = json.loads(file.read(_MAX_BYTES), parse_constant=_refuse)
    except (OSError, ValueError, RecursionError) as error:
        reason = f"no {NAME}" if isinstance(error, OSError) else f"damaged {NAME}: {escaped(str(error))}"
        raise UserError(f"{root}: not a bundle ({reason}); {_CREATE}") from None
    fault = _fault(manifest)
    if fault:
        raise UserError(f"{root}: not a bundle (damaged {NAME}: {fault}); {_CREATE}")
    for name, digest in manifest["files"].items():
        found = _digest(root / name)
        if found != digest:
            state = "is missing" if found is None else "was changed"
            raise UserError(f"{root}: {short(name)} {state} since the export; export again")
    return dict(manifest)


def is_bundle(folder: Path) -> bool:
    """Tells whether an export created the folder; other programs write a manifest.json too."""
    try:
        manifest = json.loads((folder / NAME).read_text(encoding="utf-8"))
        return "bundle" in manifest and "files" in manifest
    except (OSError, ValueError, TypeError):
        return False


def text_input(manifest: dict[str, Any]) -> TextInput | None:
    """Returns how the model reads texts; None in a bundle of an earlier version, which has no ONNX model."""
    values = manifest.get("input")
    return None if values is None else TextInput(values["vocab_size"], values["maxlen"], values["padding"])


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _fault(manifest: Any) -> str | None:
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
    missing = [name for name in _REQUIRED if name not in files]
    if missing:
        return f"files: without {missing[0]}"
    if not _are_texts(labels) or len(set(labels)) != len(labels) or len(labels) < 2:
        return f"labels: got {shown(labels)}, expected two or more names"
    if not _are_texts(formats) or not set(formats) <= set(FORMATS):
        return f"formats: got {shown(formats)}, expected some of {', '.join(FORMATS)}"
    if not isinstance(data, dict) or not _are_texts([data.get("name"), data.get("digest")]):
        return f"data: got {shown(data)}, expected name and digest"
    return _input_fault(read)


def _input_fault(manifest: dict[str, Any]) -> str | None:
    values = manifest.get("input")
    if values is None and "onnx" not in manifest["formats"]:
        return None
    found: dict[str, Any] = values if isinstance(values, dict) else {}
    are_sizes = all(type(found.get(name)) is int and found[name] > 0 for name in ("vocab_size", "maxlen"))
    if not are_sizes or found.get("padding") not in _PADDINGS:
        return f"input: got {shown(values)}, expected vocab_size, maxlen and padding"
    if "onnx" in manifest["formats"] and "model.onnx" not in manifest["files"]:
        return "files: without model.onnx"
    return None


def _digest(path: Path) -> str | None:
    """Returns the hash of a file, or None if it is missing, no file, or cannot be read."""
    try:
        return disk.file_hash(path) if path.is_file() else None
    except OSError:
        return None


def _are_texts(values: Any) -> TypeGuard[list[str]]:
    return isinstance(values, list) and all(isinstance(value, str) and is_unicode(value) for value in values)
