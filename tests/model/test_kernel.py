"""The compiled layers give the outputs and the gradients of the stock layers."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rnnexp.config.names import cells
from rnnexp.config.trial import TrialConfig
from rnnexp.model.cells import cell as find_cell

pytestmark = pytest.mark.tensorflow

COMPILED = [name for name in cells() if find_cell(name).loops is not None]
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


def built(made: TrialConfig, input_scale: float = 0.4) -> Any:
    """A model with random weights and biases instead of their special initial values.

    Args:
        made: the settings.
        input_scale: standard deviation of the embeddings and of the kernels.
    """
    import keras

    from rnnexp.model.build import build

    keras.utils.set_random_seed(1)
    model = build(made, n_outputs=2, activation="softmax")
    rng = np.random.default_rng(5)
    for variable in model.trainable_variables:
        reads_words = variable.path.endswith(("embeddings", "cell/kernel"))
        variable.assign(rng.normal(size=variable.shape) * (input_scale if reads_words else 0.4))
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


def draw_masks(made: TrialConfig, seed: np.ndarray, n_texts: int) -> np.ndarray:
    """What the dropout of states multiplies the states of each text with, for each gate, (B, G)."""
    from rnnexp.model.kernel import packing

    masks = np.empty((n_texts, find_cell(made.model.cell).n_gates * made.model.units), "float32")
    packing.draw_masks(np.arange(n_texts, dtype="int32"), seed.astype("uint32"), made.model.recurrent_dropout, masks)
    return masks


def give_masks(model: Any, made: TrialConfig, n_texts: int) -> None:
    """Makes Keras' layers use the masks that the compiled ones will draw at the next step."""
    import tensorflow as tf

    from rnnexp.model.build import recurrent_layer_names

    for name in recurrent_layer_names(made):
        layer = model.get_layer(name)
        masks = draw_masks(made, layer.cell.seed_generator.state.numpy(), n_texts)
        of_gates = [tf.constant(part) for part in np.split(masks, masks.shape[1] // made.model.units, axis=1)]
        given = of_gates if hasattr(layer.cell, "dropout_mask_count") else of_gates[0]
        layer.cell.get_recurrent_dropout_mask = lambda states, given=given: given


def assert_same(
    made: TrialConfig,
    threads: int = 1,
    lengths: Sequence[int] = LENGTHS,
    input_scale: float = 0.4,
) -> None:
    """Checks outputs and gradients.

    Args:
        made: the settings.
        threads: of the compiled layers.
        lengths: words of each text.
        input_scale: standard deviation of the embeddings and of the kernels.
    """
    from rnnexp.model import compiled
    from rnnexp.model.build import logits_of
    from rnnexp.model.kernel.team import Team

    model = built(made, input_scale)
    if made.model.recurrent_dropout:
        give_masks(model, made, len(lengths))
    stock = logits_and_gradients(model, logits_of(model), tokens(lengths))
    ours = logits_and_gradients(model, compiled.logits(model, made, 2, Team(threads)), tokens(lengths))
    np.testing.assert_allclose(ours[0], stock[0], rtol=2e-6, atol=5e-6)
    for name, expected in stock[1].items():
        # The gradient of a saturated gate is a difference of almost equal numbers, times weights of the input's scale.
        largest = max(1.0, np.abs(expected).max(), input_scale)
        np.testing.assert_allclose(ours[1][name], expected, atol=2e-5 * largest, err_msg=name)
        # A bias under a softmax over the words changes nothing; all other weights have gradients.
        assert np.abs(expected).max() > 1e-3 or name.startswith("attention"), name


@pytest.mark.parametrize("cell", COMPILED)
@pytest.mark.parametrize(
    ("bidirectional", "pooling", "layers"),
    [(False, "last", 1), (True, "last", 1), (False, "max", 1), (True, "mean", 2), (True, "attention", 2)],
)
def test_outputs_and_gradients_equal_those_of_the_stock_layers(
    cell: str, bidirectional: bool, pooling: str, layers: int
) -> None:
    assert_same(
        config(model__cell=cell, model__bidirectional=bidirectional, model__pooling=pooling, model__layers=layers)
    )


@pytest.mark.parametrize("cell", COMPILED)
@pytest.mark.parametrize(("bidirectional", "pooling", "layers"), [(False, "last", 1), (True, "mean", 2)])
def test_they_are_equal_with_dropout_of_the_states(cell: str, bidirectional: bool, pooling: str, layers: int) -> None:
    """One mask for each text and gate, the same at all steps, as Keras' layers use them."""
    settings = {"model__bidirectional": bidirectional, "model__pooling": pooling, "model__layers": layers}
    made = config(model__cell=cell, model__recurrent_dropout=0.3, **settings)
    assert_same(made)
    assert_same(made, threads=3, lengths=LENGTHS * 8)


def test_the_masks_of_states_have_the_share_and_are_independent() -> None:
    made = config(model__cell="lstm", model__units=40, model__recurrent_dropout=0.3)
    drawn = np.stack([draw_masks(made, np.array([3, step]), 50) for step in range(20)])  # steps, texts, gates and units
    assert np.unique(drawn).tolist() == pytest.approx([0, 1 / 0.7])
    kept = (drawn > 0).astype(float)
    assert kept.mean() == pytest.approx(0.7, abs=4 * np.sqrt(0.21 / kept.size))
    for axes in ((0, 1), (0, 2), (1, 2)):
        spread = np.sqrt(0.21 * kept.mean(axis=axes).size / kept.size)
        assert np.abs(kept.mean(axis=axes) - 0.7).max() < 5 * spread, axes
    kept = kept.reshape(20, 50, 4, 40) - kept.mean()  # the gates have masks of their own
    for axis in range(4):
        shifted = [np.take(kept, range(start, kept.shape[axis] - 1 + start), axis) for start in (0, 1)]
        assert abs((shifted[0] * shifted[1]).mean() / kept.var()) < 5 / np.sqrt(shifted[0].size), axis
    np.testing.assert_array_equal(draw_masks(made, np.array([3, 0]), 9), drawn[0, :9])


@pytest.mark.parametrize("cell", COMPILED)
def test_they_are_equal_with_fixed_padding_and_with_several_threads(cell: str) -> None:
    assert_same(config(model__cell=cell, data__padding="fixed"))
    assert_same(config(model__cell=cell), threads=3)
    assert_same(config(model__cell=cell, model__pooling="mean"), threads=2 * len(LENGTHS))


@pytest.mark.parametrize("cell", COMPILED)
@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_they_are_equal_over_texts_as_long_as_film_reviews(cell: str, pooling: str) -> None:
    made = config(model__cell=cell, model__pooling=pooling, data__maxlen=400)
    assert_same(made, lengths=(400, 400, 399, 230, 111, 17, 1))


@pytest.mark.parametrize("cell", COMPILED)
@pytest.mark.parametrize("input_scale", [2.0, 5.0])
def test_they_are_equal_where_the_gates_are_saturated(cell: str, input_scale: float) -> None:
    """The sums under the gates have a standard deviation of 11 and 66; from 8 on tanh is 1 but for rounding errors."""
    assert_same(config(model__cell=cell), input_scale=input_scale)
    assert_same(config(model__cell=cell, model__pooling="mean"), threads=3, input_scale=input_scale)


@pytest.mark.parametrize("cell", COMPILED)
def test_a_batch_does_not_depend_on_the_previous_batch(cell: str) -> None:
    from rnnexp.model import compiled

    made = config(model__cell=cell, model__dropout=0.0)
    model = built(made)
    used, fresh = (compiled.logits(model, made, 2) for _ in range(2))
    logits_and_gradients(model, used, tokens((15,) * 30, seed=1))
    after, alone = (logits_and_gradients(model, logits, tokens()) for logits in (used, fresh))
    np.testing.assert_array_equal(after[0], alone[0])
    for name, value in alone[1].items():
        np.testing.assert_array_equal(after[1][name], value, err_msg=name)


@pytest.mark.parametrize("cell", COMPILED)
@pytest.mark.parametrize("units", [16, 50])
@pytest.mark.parametrize(
    ("dropout", "recurrent_dropout", "pooling"), [(0.0, 0.0, "last"), (0.4, 0.0, "mean"), (0.0, 0.3, "last")]
)
def test_a_step_is_the_same_to_the_bit_with_any_number_of_threads(
    cell: str, units: int, dropout: float, recurrent_dropout: float, pooling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the library gives the rows of a product other bits when it is divided."""
    from rnnexp.model import compiled
    from rnnexp.model.kernel import recurrence
    from rnnexp.model.kernel.team import Team

    monkeypatch.setattr(recurrence, "_BLOCK_ROWS", 200)  # else the sums of so few words are one block

    rates = {"model__dropout": dropout, "model__recurrent_dropout": recurrent_dropout}
    made = config(model__cell=cell, model__units=units, model__pooling=pooling, model__layers=2, **rates)
    model, team = built(made), Team()
    state = [variable.numpy().copy() for variable in model.non_trainable_variables]
    logits = compiled.logits(model, made, 2, team)
    batch = tokens(np.random.default_rng(2).integers(1, T + 1, 100).tolist())
    results = []
    for threads in (1, 2, 3, 1):
        team.resize(threads)
        for variable, value in zip(model.non_trainable_variables, state, strict=True):
            variable.assign(value)
        results.append(logits_and_gradients(model, logits, batch))
    for outputs, gradients in results[1:]:
        np.testing.assert_array_equal(outputs, results[0][0])
        for name, value in results[0][1].items():
            np.testing.assert_array_equal(gradients[name], value, err_msg=name)


@pytest.mark.parametrize("cell", COMPILED)
def test_parts_that_begin_and_end_at_other_steps_give_the_whole(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first steps are divided and the last ones are not; the states pass from the parts to the whole and back."""
    from rnnexp.model.kernel import recurrence
    from rnnexp.model.kernel.splits import RowSplits

    monkeypatch.setattr(recurrence, "_BLOCK_ROWS", 90)
    divided: list[int] = []

    def is_exact(self: RowSplits, n_rows: int, cuts: Sequence[int]) -> bool:
        divided.append(n_rows)
        return n_rows > 30

    monkeypatch.setattr(RowSplits, "_is_exact", is_exact)
    lengths = np.random.default_rng(3).integers(1, T + 1, 60).tolist()
    for settings in ({}, {"model__pooling": "mean"}, {"data__padding": "fixed"}):
        assert_same(config(model__cell=cell, **settings), threads=2, lengths=lengths)
    assert min(divided) <= 30 < max(divided)


@pytest.mark.parametrize("cell", COMPILED)
def test_a_library_whose_products_cannot_be_divided_gives_one_result_with_any_number_of_threads(
    cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rnnexp.model import compiled
    from rnnexp.model.kernel.splits import RowSplits
    from rnnexp.model.kernel.team import Team

    monkeypatch.setattr(RowSplits, "_is_exact", lambda self, n_rows, cuts: False)
    made = config(model__cell=cell)
    model, batch = built(made), tokens((15, 4, 9, 12) * 20)
    results = [logits_and_gradients(model, compiled.logits(model, made, 2, Team(threads)), batch) for threads in (1, 3)]
    for name, value in results[0][1].items():
        np.testing.assert_array_equal(results[1][1][name], value, err_msg=name)


@pytest.mark.parametrize("cell", COMPILED)
def test_nan_weights_give_nan_outputs(cell: str) -> None:
    from rnnexp.model import compiled

    made = config(model__cell=cell)
    model = built(made)
    (recurrent,) = (v for v in model.trainable_variables if v.path.endswith("recurrent_kernel"))
    recurrent.assign(np.full(recurrent.shape, np.nan))
    found = np.asarray(compiled.logits(model, made, 2)(tokens((4, 6)), training=False))
    assert np.isnan(found).all()


def test_only_the_layer_of_the_loops_is_compiled() -> None:
    import keras

    from rnnexp.model import compiled

    lstm, gru = find_cell("lstm"), find_cell("gru")
    assert compiled.supports(keras.layers.LSTM(3), lstm)
    assert compiled.supports(keras.layers.GRU(3), gru)
    assert not compiled.supports(keras.layers.GRU(3), lstm)
    assert not compiled.supports(keras.layers.LSTM(3, activation="relu"), lstm)
    assert compiled.supports(keras.layers.LSTM(3, recurrent_dropout=0.1), lstm)
    assert not compiled.supports(keras.layers.LSTM(3, dropout=0.1), lstm)
    assert not compiled.supports(keras.layers.GRU(3, reset_after=False), gru)
    assert not compiled.supports(type("Other", (keras.layers.LSTM,), {})(3), lstm)
    assert not compiled.supports(keras.layers.LSTM(3), replace(lstm, loops=None))


def test_a_layer_that_the_loops_do_not_compute_is_refused() -> None:
    import keras

    from rnnexp.model import compiled

    made = config(model__cell="lstm")
    model = built(made)
    model.get_layer("lstm_1").cell.activation = keras.activations.relu
    with pytest.raises(ValueError, match="layer lstm_1 cannot run compiled"):
        compiled.logits(model, made, 2)


def test_layers_with_dropout_of_the_states_are_compiled() -> None:
    from rnnexp.trial.plan import choose

    for settings in ({}, {"model__recurrent_dropout": 0.2}):
        assert choose(config(model__cell="lstm", **settings), 1).kernel == "compiled"
        assert choose(config(model__cell="lstm", **settings), 1, device="GPU").kernel == "stock"
