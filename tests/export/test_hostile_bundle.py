"""A bundle can come from anywhere: what is wrong with it is told in one line, and nothing outside of it is read."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from rnnexp.config.trial import TrialConfig
from rnnexp.errors import UserError
from rnnexp.export.bundle import Bundle

_INPUT = {"vocab_size": 100, "maxlen": 5, "padding": "bucketed"}


def _bundle(folder: Path, **changes: Any) -> Path:
    """Writes a bundle whose model is no model, with changes of its manifest."""
    root = folder / "bundle"
    root.mkdir()
    (root / "config.yaml").write_text(TrialConfig().to_yaml(), encoding="utf-8")
    (root / "vocabulary.txt").write_text("good\nbad\n", encoding="utf-8")
    (root / "model.keras").write_bytes(b"model")
    manifest = {
        "bundle": 1,
        "labels": ["negative", "positive"],
        "formats": ["keras"],
        "data": {"name": "imdb", "digest": "0" * 16},
        "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in root.iterdir()},
    }
    files = changes.pop("more_files", {})
    (root / "manifest.json").write_text(json.dumps(manifest | {"files": manifest["files"] | files} | changes))
    return root


def _refusal(root: Path) -> str:
    with pytest.raises(UserError) as caught:
        Bundle.open(root).vocabulary.encode(["good"])
    message = str(caught.value)
    assert message.startswith(f"{root}: ")
    assert message.isprintable()
    assert len(message) < 500
    return message.removeprefix(f"{root}: ")


def test_a_sound_bundle_is_opened(tmp_path: Path) -> None:
    bundle = Bundle.open(_bundle(tmp_path))
    assert bundle.labels == ("negative", "positive")
    assert bundle.formats == ("keras",)
    assert bundle.vocabulary.words == ("good", "bad")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": None}, "labels: got None, expected two or more names"),
        ({"labels": ["one"]}, "labels: got ['one'], expected two or more names"),
        ({"labels": ["a", "a"]}, "labels: got ['a', 'a']"),
        ({"labels": ["a", 5]}, "labels: got ['a', 5]"),
        ({"labels": ["neg\ud800", "pos"]}, "labels: got ['neg"),
        ({"metrics": {"val_loss": float("nan")}}, "NaN is no number of JSON"),
        ({"input": _INPUT}, "differ in how texts are read"),
        ({"labels": [["x" * 1000] * 50] * 50}, "labels: got [["),
        ({"formats": "keras"}, "formats: got 'keras', expected some of keras, saved_model, onnx, mlflow"),
        ({"formats": ["keras", "caffe"]}, "formats: got ['keras', 'caffe']"),
        ({"formats": ["keras", "onnx"]}, "input: got None, expected vocab_size, maxlen and padding"),
        ({"formats": ["keras", "onnx"], "input": _INPUT | {"maxlen": True}}, "input: got {"),
        ({"formats": ["keras", "onnx"], "input": _INPUT | {"padding": "left"}}, "input: got {"),
        ({"formats": ["keras", "onnx"], "input": _INPUT}, "files: without model.onnx"),
        ({"formats": [{}]}, "formats: got [{}]"),
        ({"data": 5}, "data: got 5, expected name and digest"),
        ({"data": {"name": "imdb"}}, "data: got {'name': 'imdb'}"),
        ({"files": []}, "files: got [], expected a hash for each file"),
        ({"files": {"config.yaml": 5}}, "files: got {'config.yaml': 5}"),
        ({"files": {"config.yaml": "0"}}, "files: without vocabulary.txt"),
        ({"more_files": {"a\nb\x1b": "0"}}, r"a\nb\x1b is missing since the export"),
        ({"more_files": {"x" * 5000: "0"}}, "is missing since the export"),
        ({"more_files": {"": "0"}}, " is missing since the export"),
        ({"more_files": {"model.keras": "0"}}, "model.keras was changed since the export"),
    ],
)
def test_a_manifest_that_the_program_cannot_use_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    assert words in _refusal(_bundle(tmp_path, **changes))


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a/../../secret", "..\\secret", "\\\\host\\x", "a\0b"])
def test_a_name_that_leaves_the_bundle_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "secret").write_text("secret", encoding="utf-8")
    read: list[Path] = []
    monkeypatch.setattr("rnnexp.disk.file_hash", lambda path: read.append(path))
    assert "expected names inside the bundle" in _refusal(_bundle(tmp_path, more_files={name: "0"}))
    assert read == []


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"5", b"null", b"\xff", b"{", b"9" * 5000, b'{"files": 1}'])
def test_a_manifest_that_is_no_mapping_is_refused(tmp_path: Path, content: bytes) -> None:
    root = _bundle(tmp_path)
    (root / "manifest.json").write_bytes(content)
    assert "not a bundle (damaged manifest.json" in _refusal(root)


def test_a_vocabulary_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    root = _bundle(tmp_path)
    (root / "vocabulary.txt").write_bytes(b"good\n\xff\n")
    digest = hashlib.sha256(b"good\n\xff\n").hexdigest()
    manifest = json.loads((root / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"]["vocabulary.txt"] = digest
    (root / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert _refusal(root) == "vocabulary.txt is not UTF-8 (byte 5); export again"


@pytest.mark.tensorflow
def test_a_model_that_cannot_be_loaded_is_refused_with_one_line(tmp_path: Path) -> None:
    from rnnexp.export import predictor

    root = _bundle(tmp_path)
    with pytest.raises(UserError, match=r"model\.keras: cannot be loaded \(.*\); export again$") as caught:
        predictor.load(Bundle.open(root))
    assert str(caught.value).isprintable()


@pytest.mark.tensorflow
@pytest.mark.parametrize("n_outputs", [2, 3])
def test_a_model_with_other_outputs_than_the_labels_is_refused(tmp_path: Path, n_outputs: int) -> None:
    import keras

    from rnnexp.export import predictor

    root = _bundle(tmp_path)
    tokens = keras.Input((None,), dtype="int32")
    hidden = keras.layers.GlobalMaxPooling1D()(keras.layers.Embedding(10_000, 2)(tokens))
    keras.Model(tokens, keras.layers.Dense(n_outputs)(hidden)).save(root / "model.keras")
    manifest = json.loads((root / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"]["model.keras"] = hashlib.sha256((root / "model.keras").read_bytes()).hexdigest()
    (root / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(UserError, match=rf"has the outputs \(1, {n_outputs}\), expected \(1, 1\); export again"):
        predictor.load(Bundle.open(root))
