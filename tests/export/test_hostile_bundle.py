"""A bundle can come from anywhere: what is wrong with it is told in one line, and nothing outside of it is read."""

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnexp.config.trial import TrialConfig
from rnnexp.errors import UserError
from rnnexp.export import place
from rnnexp.export.bundle import Bundle
from rnnexp.runtime import manifest, onnx_model

_INPUT = {"vocab_size": 100, "maxlen": 5, "padding": "bucketed"}


def _bundle(folder: Path, **changes: Any) -> Path:
    """Writes a bundle whose model is no model, with changes of its manifest."""
    root = folder / "bundle"
    root.mkdir()
    (root / "config.yaml").write_text(TrialConfig().to_yaml(), encoding="utf-8")
    (root / "vocabulary.txt").write_text("good\nbad\n", encoding="utf-8")
    (root / "model.keras").write_bytes(b"model")
    contents = {
        "bundle": 1,
        "labels": ["negative", "positive"],
        "formats": ["keras"],
        "data": {"name": "imdb", "digest": "0" * 16},
        "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in root.iterdir()},
    }
    files = changes.pop("more_files", {})
    (root / "manifest.json").write_text(json.dumps(contents | {"files": contents["files"] | files} | changes))
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
    contents = json.loads((root / "manifest.json").read_text(encoding="utf-8"))
    contents["files"]["vocabulary.txt"] = digest
    (root / "manifest.json").write_text(json.dumps(contents), encoding="utf-8")
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
    contents = json.loads((root / "manifest.json").read_text(encoding="utf-8"))
    contents["files"]["model.keras"] = hashlib.sha256((root / "model.keras").read_bytes()).hexdigest()
    (root / "manifest.json").write_text(json.dumps(contents), encoding="utf-8")
    with pytest.raises(UserError, match=rf"has the outputs \(1, {n_outputs}\), expected \(1, 1\); export again"):
        predictor.load(Bundle.open(root))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('"bundle and files"', "got 'bundle and files', expected a mapping"),
        ('["bundle", "files"]', "expected a mapping"),
        ("[" * 100_000, "not a bundle (damaged manifest.json"),
        ('{"x": 1e999}', "1e999 is too large"),
        ('{"study": "\\ud800"}', "files: got None"),
    ],
)
def test_a_folder_with_another_manifest_is_no_bundle_and_is_not_replaced(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    (tmp_path / "thesis.tex").touch()
    assert words in _refusal(tmp_path)
    assert not manifest.is_bundle(tmp_path)
    with pytest.raises(UserError, match="exists and is not a bundle"):
        place.free_place(tmp_path)


def test_half_of_a_surrogate_pair_anywhere_is_refused(tmp_path: Path) -> None:
    assert "half of a surrogate pair" in _refusal(_bundle(tmp_path, study="\ud800"))


@pytest.mark.parametrize("sizes", [{"vocab_size": 2**31}, {"vocab_size": 10**12}, {"maxlen": 10**8}])
def test_sizes_that_no_model_has_are_refused(tmp_path: Path, sizes: dict[str, int]) -> None:
    values = {"vocab_size": 10, "maxlen": 20, "padding": "fixed"} | sizes
    assert "expected vocab_size, maxlen and padding" in _refusal(_bundle(tmp_path, input=values))


def test_a_pipe_in_the_place_of_the_manifest_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "manifest.json")
    assert "not a bundle (no manifest.json)" in _refusal(tmp_path)
    assert not manifest.is_bundle(tmp_path)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO, errno.ESTALE, errno.EACCES])
@pytest.mark.parametrize("name", ["manifest.json", "config.yaml", "vocabulary.txt"])
def test_a_file_that_cannot_be_read_now_is_neither_missing_nor_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, name: str
) -> None:
    root, original = _bundle(tmp_path), Path.open

    def opened(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == name:
            raise OSError(number, os.strerror(number))
        return original(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", opened)
    assert _refusal(root) == f"{name} cannot be read ({os.strerror(number)})"
    if name == "manifest.json":
        with pytest.raises(UserError, match="cannot be read"):
            place.free_place(root)


@pytest.mark.parametrize(
    ("outputs", "fault"),
    [
        (np.array([["a", "b"]], object), "outputs that are no numbers"),
        (["a", "b"], "outputs that are no numbers"),
        (np.zeros((1, 3), np.float32), "outputs of shape (1, 3)"),
        (np.array([[np.nan, 1]], np.float32), "outputs that are not finite"),
        (np.array([[0.5, 0.5]], np.float32), ""),
    ],
)
def test_outputs_of_an_onnx_model_that_are_no_probabilities_are_refused(outputs: Any, fault: str) -> None:
    assert onnx_model._fault(outputs, 2) == fault
