"""Each format gives the probabilities of training, for every kind of network, or is refused with the reason."""

import dataclasses
import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnexp.config.names import cells
from rnnexp.config.trial import DataConfig, TrialConfig
from rnnexp.data.padding import bucket_lengths, pad
from rnnexp.data.store import TokenStore, prepare
from rnnexp.data.text import cut
from rnnexp.errors import UserError, WorkError
from rnnexp.export.bundle import Bundle, Source
from rnnexp.home import Home
from rnnexp.runtime.manifest import FORMATS
from tests.data.text_files import write_csv

pytestmark = pytest.mark.tensorflow

_MAXLEN = 60
_N_TEXTS = 40
_ALL = list(itertools.product(cells(), (False, True), ("last", "mean", "max", "attention"), ("bucketed", "fixed")))
_SOME = [case for index, case in enumerate(_ALL) if (index + index // 4 + index // 16) % 4 == 0]
"""A quarter of the cases: each cell, direction, pooling and padding several times."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    return prepare(DataConfig(name="reviews"), Home.open(tmp_path_factory.mktemp("data")))


def source(folder: Path, store: TokenStore, data: dict[str, Any] | None = None, **model: Any) -> Source:
    """A model with large random weights, and its probabilities on held-out texts."""
    import keras

    from rnnexp.model.build import build

    settings = {
        f"data.{name}": value for name, value in ({"name": "reviews", "maxlen": _MAXLEN} | (data or {})).items()
    }
    sizes = {"model.units": 9, "model.embedding_dim": 5, "data.vocab_size": 400}
    config = TrialConfig().with_settings(settings | sizes | {f"model.{name}": value for name, value in model.items()})
    keras.utils.set_random_seed(1)
    built = build(config, store.task.n_outputs, store.task.activation)
    rng = np.random.default_rng(0)
    for weight in built.weights:
        weight.assign(rng.normal(0, 0.6, weight.shape))
    folder.mkdir(exist_ok=True)
    built.save(folder / "best.keras")
    rows = store.split(config.data).validation[:_N_TEXTS]
    sequences = [cut(store.token_ids(int(row)), config.data.vocab_size, _MAXLEN) for row in rows]
    tokens = pad(sequences, config.data.padding, _MAXLEN, bucket_lengths(_MAXLEN))
    np.savez(folder / "held_out.npz", rows=rows, probabilities=built.predict_on_batch(tokens))
    origin = {"study": "s", "trial": 0, "run_id": None, "best_epoch": 1, "metrics": {"val_accuracy": 0.5}}
    return Source(config, folder / "best.keras", folder / "held_out.npz", store, origin)


def check_all(folder: Path, of: Source) -> None:
    from rnnexp.export.check import _check
    from rnnexp.export.checked_bundle import create

    work = create(of, folder / "bundle", FORMATS)
    found = _check(work, of.store.root, of.held_out, False)
    assert [parity.format for parity in found.parities] == list(FORMATS)
    for parity in found.parities:
        assert parity.n_texts == _N_TEXTS
        assert parity.difference <= parity.tolerance, parity


def _check_case(folder: Path, store: TokenStore, cell: str, bidirectional: bool, pooling: str, padding: str) -> None:
    data = {"padding": padding}
    check_all(folder, source(folder, store, data, cell=cell, bidirectional=bidirectional, pooling=pooling))


@pytest.mark.parametrize(("cell", "bidirectional", "pooling", "padding"), _SOME)
def test_all_formats_give_the_probabilities_of_training(
    tmp_path: Path, store: TokenStore, cell: str, bidirectional: bool, pooling: str, padding: str
) -> None:
    _check_case(tmp_path, store, cell, bidirectional, pooling, padding)


@pytest.mark.slow
@pytest.mark.parametrize(("cell", "bidirectional", "pooling", "padding"), [case for case in _ALL if case not in _SOME])
def test_all_formats_of_every_network(
    tmp_path: Path, store: TokenStore, cell: str, bidirectional: bool, pooling: str, padding: str
) -> None:
    _check_case(tmp_path, store, cell, bidirectional, pooling, padding)


@pytest.mark.parametrize("cell", cells())
def test_several_layers_with_dropout(tmp_path: Path, store: TokenStore, cell: str) -> None:
    check_all(
        tmp_path, source(tmp_path, store, cell=cell, layers=2, bidirectional=True, dropout=0.3, recurrent_dropout=0.2)
    )


def test_three_classes(tmp_path: Path) -> None:
    rows = [(f"{word} one two {'three ' * (n % 7)}{n}", word) for n in range(120) for word in ("bad", "fair", "good")]
    path = write_csv(tmp_path, rows, "own.csv")
    own = {"name": "own", "path": str(path)}
    store = prepare(DataConfig(**own), Home.open(tmp_path / "home"))
    check_all(tmp_path, source(tmp_path, store, own, cell="gru", pooling="max"))


def test_a_cell_without_an_operator_of_onnx_is_refused(
    tmp_path: Path, store: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rnnexp.export.checked_bundle import create
    from rnnexp.model.cells import gru

    monkeypatch.setattr(gru, "CELL", dataclasses.replace(gru.CELL, onnx=None))
    of = source(tmp_path, store, cell="gru")
    with pytest.raises(UserError, match="format onnx: no operator of ONNX computes the cell gru; leave the format out"):
        create(of, tmp_path / "out" / "bundle", ["onnx"])
    assert list((tmp_path / "out").iterdir()) == []
    create(of, tmp_path / "out" / "bundle", ["saved_model"])


@pytest.mark.parametrize("name", ["saved_model", "onnx", "mlflow"])
def test_a_format_with_other_weights_fails_with_the_largest_difference(
    tmp_path: Path, store: TokenStore, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rnnexp.export import check, formats
    from rnnexp.export.checked_bundle import create

    class InThisProcess:
        def result(self, *arguments: Any) -> check.Checked:
            return check._check(*arguments)

    of = source(tmp_path, store, cell="lstm")
    good = formats.module(name).load

    def load(bundle: Bundle) -> Any:
        probabilities = good(bundle)
        return lambda texts: probabilities(texts) + np.array([[2e-4, -2e-4]])

    monkeypatch.setattr(formats.module(name), "load", load)
    work = create(of, tmp_path / "bundle", [name])
    with pytest.raises(
        WorkError, match=rf"probabilities of format {name} differ from training by 0\.0002 on 40 held-out"
    ):
        check.check(work, store.root, of.held_out, InThisProcess(), measure=False)  # type: ignore[arg-type]


def test_the_runtime_needs_onnxruntime_and_numpy_only(tmp_path: Path, store: TokenStore) -> None:
    from rnnexp.export.checked_bundle import create
    from rnnexp.export.formats import keras

    work = create(source(tmp_path, store, cell="gru"), tmp_path / "bundle", ["onnx"])
    texts = ["the plot was superb", "", "naïve\u3000café it's dull", "never " * 100]
    refused = (
        "tensorflow",
        "keras",
        "mlflow",
        "onnx",
        "optuna",
        "pandas",
        "pydantic",
        "yaml",
        "scipy",
        "numba",
        "rich",
    )
    code = (
        f"import runpy, sys; sys.modules.update(dict.fromkeys({refused!r}))\n"
        "runpy.run_module('rnnexp.runtime', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code, str(work), "--json", *texts], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert [one["text"] for one in found] == texts
    expected = keras.text_model(Bundle.open(work)).probabilities(texts)
    assert np.array([list(one["probabilities"].values()) for one in found]) == pytest.approx(expected, abs=1e-5)


def test_the_runtime_says_in_one_line_what_is_wrong(tmp_path: Path, store: TokenStore) -> None:
    from rnnexp.export.checked_bundle import create

    def refusal(folder: Path) -> str:
        command = [sys.executable, "-m", "rnnexp.runtime", str(folder), "good"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.count("\n") == 1
        return done.stderr

    of = source(tmp_path, store)
    assert "has no ONNX model; export again with --format onnx" in refusal(create(of, tmp_path / "plain", []))
    assert "not a bundle (no manifest.json)" in refusal(tmp_path / "nothing")
    altered = create(of, tmp_path / "altered", ["onnx"])
    (altered / "model.onnx").write_bytes((altered / "model.onnx").read_bytes()[:-9])
    assert "model.onnx was changed since the export" in refusal(altered)
    manifest = json.loads((altered / "manifest.json").read_text())
    from rnnexp import disk

    manifest["files"]["model.onnx"] = disk.file_hash(altered / "model.onnx")
    (altered / "manifest.json").write_text(json.dumps(manifest))
    assert "model.onnx: cannot be loaded (" in refusal(altered)
    whole = create(of, tmp_path / "whole", ["onnx"])
    manifest = json.loads((whole / "manifest.json").read_text())
    manifest["input"]["vocab_size"] += 1  # the model has no vector for the last id
    (whole / "manifest.json").write_text(json.dumps(manifest))
    assert "model.onnx: cannot be loaded (" in refusal(whole)
