"""The network reads words and never padding, for every combination of settings."""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rnnexp.config.names import cells
from rnnexp.config.trial import TrialConfig

pytestmark = pytest.mark.tensorflow

LENGTHS = (9, 4, 1, 6)


def config(**settings: object) -> TrialConfig:
    small = {"data.vocab_size": 30, "data.maxlen": 12, "model.units": 6, "model.embedding_dim": 5}
    return TrialConfig().with_settings({**small, **{key.replace("__", "."): value for key, value in settings.items()}})  # type: ignore[dict-item]


def texts() -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [rng.integers(1, 30, size=length).astype("int32") for length in LENGTHS]


@pytest.mark.parametrize(
    ("cell", "bidirectional", "pooling", "layers"),
    [
        *itertools.product(cells(), (False, True), ("last", "mean", "max", "attention"), (1,)),
        *itertools.product(cells(), (True,), ("last",), (2,)),
    ],
)
def test_padding_does_not_change_a_logit(cell: str, bidirectional: bool, pooling: str, layers: int) -> None:
    import keras

    from rnnexp.model.build import build, logits_of

    keras.utils.set_random_seed(1)
    made = config(model__cell=cell, model__bidirectional=bidirectional, model__pooling=pooling, model__layers=layers)
    logits = logits_of(build(made, n_outputs=3, activation="softmax"))
    alone = np.concatenate([np.asarray(logits(text[None])) for text in texts()])
    for length in (9, 12, 40):
        tokens = np.zeros((len(LENGTHS), length), dtype="int32")
        for row, text in enumerate(texts()):
            tokens[row, : len(text)] = text
        np.testing.assert_allclose(np.asarray(logits(tokens)), alone, atol=2e-6, rtol=0)
    assert np.ptp(alone, axis=0).min() > 1e-4, "the logits of the texts differ"


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention"])
def test_a_backward_direction_reads_the_first_word_last(pooling: str) -> None:
    import keras

    from rnnexp.model.build import build, logits_of

    keras.utils.set_random_seed(1)
    made = config(model__cell="gru", model__bidirectional=True, model__pooling=pooling)
    logits = logits_of(build(made, n_outputs=1, activation="sigmoid"))
    text = texts()[0][None]
    turned = text[:, ::-1].copy()
    assert not np.allclose(np.asarray(logits(text)), np.asarray(logits(turned)), atol=1e-5)


def test_fixed_padding_gives_the_model_of_the_notebook() -> None:
    """Embedding, SimpleRNN, Dense over leading zeros, unmasked: the same numbers from a plain Sequential."""
    import keras

    from rnnexp.model.build import build

    made = config(model__cell="simple_rnn", data__padding="fixed")
    model = build(made, n_outputs=1, activation="sigmoid")
    plain = keras.Sequential(
        [keras.layers.Embedding(30, 5), keras.layers.SimpleRNN(6), keras.layers.Dense(1, activation="sigmoid")]
    )
    tokens = np.zeros((4, 12), dtype="int32")
    for row, text in enumerate(texts()):
        tokens[row, 12 - len(text) :] = text
    plain(tokens)
    plain.set_weights(model.get_weights())
    np.testing.assert_allclose(np.asarray(model(tokens)), np.asarray(plain(tokens)), atol=1e-6)


def test_a_saved_model_loads_in_safe_mode_without_this_package(tmp_path: Path) -> None:
    from rnnexp.model.build import build

    made = config(model__bidirectional=True, model__pooling="attention", model__layers=2, model__dropout=0.2)
    model = build(made, n_outputs=1, activation="sigmoid")
    tokens = np.ones((2, 7), dtype="int32")
    model.save(tmp_path / "model.keras")
    code = (
        "import sys; sys.modules['rnnexp'] = None\n"
        "import keras, numpy as np\n"
        f"model = keras.saving.load_model({str(tmp_path / 'model.keras')!r}, compile=False, safe_mode=True)\n"
        "print(float(np.asarray(model(np.ones((2, 7), dtype='int32')))[0, 0]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[-1]) == pytest.approx(float(np.asarray(model(tokens))[0, 0]), abs=1e-6)
