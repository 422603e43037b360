"""The manifest of a bundle: what it says, and whether the files of the bundle are those that were exported."""

import errno
import json
import math
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
_MAX_VOCAB_SIZE, _MAX_MAXLEN = 2**31 - 1, 10_000_000
"""Ids are 32-bit numbers; with `fixed` padding each text takes `maxlen` of them."""
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
        manifest = _load(root)
    except FileNotFoundError:
        raise UserError(f"{root}: not a bundle (no {NAME}); {_CREATE}") from None
    except OSError as error:
        raise UserError(f"{root}: {NAME} cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{root}: not a bundle (damaged {NAME}: {escaped(str(error))}); {_CREATE}") from None
    fault = _fault(manifest)
    if fault:
        raise UserError(f"{root}: not a bundle (damaged {NAME}: {fault}); {_CREATE}")
    for name, digest in manifest["files"].items():
        try:
            found = _digest(root / name)
        except OSError as error:
            raise UserError(f"{root}: {short(name)} cannot be read ({error.strerror})") from None
        if found != digest:
            state = "is missing" if found is None else "was changed"
            raise UserError(f"{root}: {short(name)} {state} since the export; export again")
    return dict(manifest)


def is_bundle(folder: Path) -> bool:
    """Tells whether an export created the folder; other programs write a manifest.json too.

    Raises:
        OSError: if it cannot be read now.
    """
    try:
        manifest = _load(folder)
    except (FileNotFoundError, ValueError, RecursionError):
        return False
    return isinstance(manifest, dict) and "bundle" in manifest and isinstance(manifest.get("files"), dict)


def text_input(manifest: dict[str, Any]) -> TextInput | None:
    """Returns how the model reads texts; None in a bundle of an earlier version, which has no ONNX model."""
    values = manifest.get("input")
    return None if values is None else TextInput(values["vocab_size"], values["maxlen"], values["padding"])


def _load(root: Path) -> Any:
    """Returns the content of the manifest.

    Raises:
        FileNotFoundError: if the folder has no such file; a pipe, for example, is none.
    """
    path = root / NAME
    if not path.is_file():
        raise FileNotFoundError(path)
    with path.open("rb") as file:
        text = file.read(_MAX_BYTES).decode()
    return json.loads(text, parse_constant=_refuse, parse_float=_finite)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{short(text)} is too large")
    return value


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
    if not is_unicode(json.dumps(read, ensure_ascii=False)):
        return "it has half of a surrogate pair"
    return _input_fault(read)


def _input_fault(manifest: dict[str, Any]) -> str | None:
    values = manifest.get("input")
    if values is None and "onnx" not in manifest["formats"]:
        return None
    found: dict[str, Any] = values if isinstance(values, dict) else {}
    are_sizes = all(
        type(found.get(name)) is int and 0 < found[name] <= largest
        for name, largest in (("vocab_size", _MAX_VOCAB_SIZE), ("maxlen", _MAX_MAXLEN))
    )
    if not are_sizes or found.get("padding") not in _PADDINGS:
        return f"input: got {shown(values)}, expected vocab_size, maxlen and padding"
    if "onnx" in manifest["formats"] and "model.onnx" not in manifest["files"]:
        return "files: without model.onnx"
    return None


def _digest(path: Path) -> str | None:
    """Returns the hash of a file; None if it is missing or no file."""
    try:
        return disk.file_hash(path) if path.is_file() else None
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return None


def _are_texts(values: Any) -> TypeGuard[list[str]]:
    return isinstance(values, list) and all(isinstance(value, str) and is_unicode(value) for value in values)
