"""The compiled layers compute what the stock ones do: outputs, and gradients of every weight."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from rnnexp.config.trial import TrialConfig
from rnnexp.model.kernel.loops import CELLS

pytestmark = pytest.mark.tensorflow

LENGTHS = (15, 3, 1, 9, 9, 12, 15, 2, 7)
V, T = 50, 15


def config(**settings: object) -> TrialConfig:
    small = {"data.vocab_size": V, "data.maxlen": T, "model.units": 9, "model.embedding_dim": 7}
    return TrialConfig().with_settings({**small, **{key.replace("__", "."): value for key, value in settings.items()}})  # type: ignore[dict-item]


def tokens(lengths: Sequence[int] = LENGTHS, seed: int = 0) -> np.ndarray:
    rng, made = np.random.default_rng(seed), np.zeros((len(lengths), max(lengths)), dtype="int32")
    for row, length in enumerate(lengths):
        made[row, :length] = rng.integers(1, V, length)
    return made


def built(made: TrialConfig) -> Any:
    """A model whose weights, biases too, are none of the special values that they begin with."""
    import keras

    from rnnexp.model.build import build

    keras.utils.set_random_seed(1)
    model = build(made, n_outputs=2, activation="softmax")
    rng = np.random.default_rng(5)
    for variable in model.trainable_variables:
        variable.assign(rng.normal(size=variable.shape) * 0.4)
    return model


def logits_and_gradients(model: Any, logits: Any, batch: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    import tensorflow as tf

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, None], tf.int32)])  # type: ignore[untyped-decorator]
    def step(batch: Any) -> Any:
        with tf.GradientTape() as tape:
            found = logits(batch, training=True)
            loss = tf.reduce_sum(found * found * tf.constant([1.0, -0.3]))
        return found, [tf.convert_to_tensor(g) for g in tape.gradient(loss, model.trainable_variables)]

    found, gradients = step(tf.constant(batch))
    names = [variable.path for variable in model.trainable_variables]
    return np.asarray(found), {name: np.asarray(value) for name, value in zip(names, gradients, strict=True)}


def assert_same(made: TrialConfig, threads: int = 1) -> None:
    from rnnexp.model import compiled
    from rnnexp.model.build import logits_of

    model = built(made)
    stock = logits_and_gradients(model, logits_of(model), tokens())
    ours = logits_and_gradients(model, compiled.logits(model, made, 2, threads), tokens())
    np.testing.assert_allclose(ours[0], stock[0], atol=5e-6)
    for name, expected in stock[1].items():
        np.testing.assert_allclose(ours[1][name], expected, atol=2e-5 * max(1.0, np.abs(expected).max()), err_msg=name)
        # A bias under a softmax over the words changes nothing; all else is to be learned.
        assert np.abs(expected).max() > 1e-3 or name.startswith("attention"), name


@pytest.mark.parametrize("cell", sorted(CELLS))
@pytest.mark.parametrize(
    ("bidirectional", "pooling", "layers"),
    [(False, "last", 1), (True, "last", 1), (False, "max", 1), (True, "mean", 2), (True, "attention", 2)],
)
def test_outputs_and_gradients_are_the_stock_layers(cell: str, bidirectional: bool, pooling: str, layers: int) -> None:
    assert_same(
        config(model__cell=cell, model__bidirectional=bidirectional, model__pooling=pooling, model__layers=layers)
    )


@pytest.mark.parametrize("cell", sorted(CELLS))
def test_with_fixed_padding_and_with_several_threads(cell: str) -> None:
    assert_same(config(model__cell=cell, data__padding="fixed"))
    assert_same(config(model__cell=cell), threads=3)
    assert_same(config(model__cell=cell, model__pooling="mean"), threads=2 * len(LENGTHS))


@pytest.mark.parametrize("cell", sorted(CELLS))
def test_nothing_is_left_over_from_the_batch_before(cell: str) -> None:
    from rnnexp.model import compiled

    made = config(model__cell=cell, model__dropout=0.0)
    model = built(made)
    used, fresh = (compiled.logits(model, made, 2, 1) for _ in range(2))
    logits_and_gradients(model, used, tokens((15,) * 30, seed=1))
    after, alone = (logits_and_gradients(model, logits, tokens()) for logits in (used, fresh))
    np.testing.assert_array_equal(after[0], alone[0])
    for name, value in alone[1].items():
        np.testing.assert_array_equal(after[1][name], value, err_msg=name)


def test_dropout_drops_its_share_scales_the_rest_and_learns_what_it_read() -> None:
    from rnnexp.model.kernel import Recurrence, Table

    rng = np.random.default_rng(0)
    E, H, rate = 40, 3, 0.3
    embedding = np.ones((V, E), "float32")
    kernel, recurrent, bias = np.zeros((E, H), "float32"), np.zeros((H, H), "float32"), np.zeros(H, "float32")
    kernel[:, 0] = 1 / (4 * E)  # tanh is then nearly linear: the state counts what was kept
    batch, lengths = rng.integers(1, V, (400, 1)).astype("int32"), np.ones(400, "int32")
    layer = Recurrence("simple_rnn")

    def states(seed: int) -> np.ndarray:
        table = Table(embedding, rate, np.array([seed, 9], "int32"))
        return layer.forward(batch, lengths, table, (kernel, recurrent, bias), learn=True, return_sequences=False)

    kept = np.arctanh(states(1)[:, 0]) * 4 * (1 - rate)
    assert kept.mean() == pytest.approx(1 - rate, abs=0.01), "the share"
    assert kept.std() == pytest.approx(np.sqrt(rate * (1 - rate) / E), rel=0.15), "each entry on its own"
    np.testing.assert_array_equal(states(1), states(1))
    assert np.abs(states(2) - states(1)).max() > 0
    first = states(1)
    found = layer.backward(np.ones((400, H), "float32"))
    # Each review's gradient goes back through the entries that it kept, times their scale.
    expected = np.zeros(V)
    np.add.at(expected, batch[:, 0], (1 - first[:, 0] ** 2) * np.arctanh(first[:, 0]))
    np.testing.assert_allclose(found.inputs.sum(axis=1), expected[found.rows], rtol=1e-4)
    np.testing.assert_allclose(
        found.kernel[:, 0].sum(), (kept / (1 - rate) * E * (1 - first[:, 0] ** 2)).sum(), rtol=1e-4
    )


def test_dropout_is_off_where_nothing_is_learned_and_moves_on_where_it_is() -> None:
    from rnnexp.model import compiled
    from rnnexp.model.build import logits_of

    made = config(model__cell="gru", model__dropout=0.5)
    model = built(made)
    logits = compiled.logits(model, made, 2, 1)
    batch = tokens()
    np.testing.assert_allclose(
        np.asarray(logits(batch, training=False)), np.asarray(logits_of(model)(batch)), atol=5e-6
    )
    state = [variable.numpy().copy() for variable in model.non_trainable_variables]
    first, second = (np.asarray(logits(batch, training=True)) for _ in range(2))
    assert np.abs(first - second).max() > 1e-3
    for variable, value in zip(model.non_trainable_variables, state, strict=True):
        variable.assign(value)
    np.testing.assert_array_equal(np.asarray(logits(batch, training=True)), first, "a checkpoint holds all of it")


@pytest.mark.parametrize("cell", sorted(CELLS))
def test_what_diverges_is_seen_to(cell: str) -> None:
    from rnnexp.model import compiled

    made = config(model__cell=cell)
    model = built(made)
    (recurrent,) = (v for v in model.trainable_variables if v.path.endswith("recurrent_kernel"))
    recurrent.assign(np.full(recurrent.shape, np.nan))
    found = np.asarray(compiled.logits(model, made, 2, 1)(tokens((4, 6)), training=False))
    assert np.isnan(found).all()


def test_a_layer_that_is_not_the_stock_one_runs_as_it_is() -> None:
    import keras

    from rnnexp.model import compiled
    from rnnexp.model.build import logits_of

    assert compiled.supports(keras.layers.LSTM(3))
    assert not compiled.supports(keras.layers.LSTM(3, activation="relu"))
    assert not compiled.supports(keras.layers.GRU(3, reset_after=False))
    assert not compiled.supports(type("Other", (keras.layers.LSTM,), {})(3))
    made = config(model__cell="lstm", model__recurrent_dropout=0.2)
    model = built(made)
    batch = tokens()
    ours = np.asarray(compiled.logits(model, made, 2, 1)(batch, training=False))
    np.testing.assert_array_equal(ours, np.asarray(logits_of(model)(batch, training=False)))
