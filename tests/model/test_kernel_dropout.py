"""What the compiled layers drop: the share, the independence of the masks, and their gradients."""

from collections.abc import Sequence

import numpy as np
import pytest

from rnnexp.model.cells import cell as find_cell
from tests.model.test_kernel import V, built, config, tokens

pytestmark = pytest.mark.tensorflow


def test_dropout_drops_its_share_scales_the_rest_and_has_the_matching_gradients() -> None:
    from rnnexp.model.kernel.inputs import Embedding
    from rnnexp.model.kernel.recurrence import Recurrence

    rng = np.random.default_rng(0)
    E, H, rate = 40, 3, 0.3
    embedding = np.ones((V, E), "float32")
    kernel, recurrent, bias = np.zeros((E, H), "float32"), np.zeros((H, H), "float32"), np.zeros(H, "float32")
    kernel[:, 0] = 1 / (4 * E)  # tanh is then nearly linear: the state counts what was kept
    batch, lengths = rng.integers(1, V, (400, 1)).astype("int32"), np.ones(400, "int32")
    layer = Recurrence(find_cell("simple_rnn"))

    def states(seed: int) -> np.ndarray:
        dropped = Embedding(embedding, rate, np.array([seed, 9], "int32"))
        return layer.forward(batch, lengths, dropped, (kernel, recurrent, bias), learn=True, return_sequences=False)

    kept = np.arctanh(states(1)[:, 0]) * 4 * (1 - rate)
    assert kept.mean() == pytest.approx(1 - rate, abs=0.01), "the share"
    assert kept.std() == pytest.approx(np.sqrt(rate * (1 - rate) / E), rel=0.15), "each entry on its own"
    np.testing.assert_array_equal(states(1), states(1))
    assert np.abs(states(2) - states(1)).max() > 0
    first = states(1)
    found = layer.backward(np.ones((400, H), "float32"))
    # The gradient of each text passes through the entries that it kept, times their scale.
    expected = np.zeros(V)
    np.add.at(expected, batch[:, 0], (1 - first[:, 0] ** 2) * np.arctanh(first[:, 0]))
    np.testing.assert_allclose(found.inputs.sum(axis=1), expected[found.rows], rtol=1e-4)
    np.testing.assert_allclose(
        found.kernel[:, 0].sum(), (kept / (1 - rate) * E * (1 - first[:, 0] ** 2)).sum(), rtol=1e-4
    )


E = 40


def masks(seed: Sequence[int], lengths: Sequence[int], threads: int = 1, rate: float = 0.3) -> np.ndarray:
    """What dropout multiplies each entry of each word with, (B, T, E), read through a layer that copies its input."""
    from rnnexp.model.kernel.inputs import Embedding
    from rnnexp.model.kernel.recurrence import Recurrence
    from rnnexp.model.kernel.team import Team

    layer, dropped = Recurrence(find_cell("simple_rnn"), Team(threads)), np.array(seed, "int32")
    weights = np.eye(E, dtype="float32"), np.zeros((E, E), "float32"), np.zeros(E, "float32")
    embedding = Embedding(np.full((V, E), 0.25, "float32"), rate, dropped)
    batch, n_words = tokens(lengths), np.array(lengths, "int32")
    return layer.forward(batch, n_words, embedding, weights, learn=True, return_sequences=True)


def test_dropout_does_not_depend_on_the_number_of_threads() -> None:
    lengths = (15, 3, 1, 9, 9, 12, 15, 2, 7) * 5
    one = masks((7, 3), lengths)
    assert np.unique(one[0, :15]).tolist() == pytest.approx([0.0, np.tanh(0.25 / 0.7)])
    for threads in (2, 3, 7):
        np.testing.assert_array_equal(masks((7, 3), lengths, threads), one)


def test_dropout_of_a_text_does_not_depend_on_the_other_texts_of_its_batch() -> None:
    few, many = masks((7, 3), (4, 9)), masks((7, 3), (4, 9, 15, 12, 13))
    np.testing.assert_array_equal(many[:2, :9], few)


def test_each_step_has_its_own_masks_at_its_own_places() -> None:
    """Two random masks of 40 entries are equal with a probability of 3e-10, so no two of the 27,000 are equal."""
    lengths = (60,) * 64
    seen: set[bytes] = set()
    n_words = 0
    for step in (0, 1, 2, 3, 64, 2**20):
        drawn = masks((7, step), lengths) > 0
        assert drawn.mean() == pytest.approx(0.7, abs=4 * np.sqrt(0.7 * 0.3 / drawn.size)), "the share"
        assert np.abs(drawn.mean(axis=(0, 1)) - 0.7).max() < 0.04, "of each entry"
        assert np.abs(drawn.mean(axis=(1, 2)) - 0.7).max() < 0.05, "of each text"
        seen |= {bytes(word) for word in np.packbits(drawn, axis=-1).reshape(-1, E // 8)}
        n_words += drawn.shape[0] * drawn.shape[1]
    assert len(seen) >= n_words - 3
    other = masks((8, 0), lengths) > 0
    seen |= {bytes(word) for word in np.packbits(other, axis=-1).reshape(-1, E // 8)}
    assert len(seen) >= n_words + other.shape[0] * other.shape[1] - 3, "another generator has others"


def test_neighbouring_entries_words_texts_and_steps_are_independent() -> None:
    drawn = np.stack([masks((3, step), (50,) * 40) > 0 for step in range(12)]).astype(float)  # steps, texts, words, E
    drawn -= drawn.mean()
    for axis in range(4):
        shifted = [np.take(drawn, range(start, drawn.shape[axis] - 1 + start), axis) for start in (0, 1)]
        correlation = (shifted[0] * shifted[1]).mean() / drawn.var()
        assert abs(correlation) < 5 / np.sqrt(shifted[0].size), axis


@pytest.mark.parametrize("kind", ["dropout", "recurrent_dropout"])
def test_dropout_is_off_in_evaluation_and_differs_between_training_steps(kind: str) -> None:
    from rnnexp.model import compiled
    from rnnexp.model.build import logits_of

    made = config(model__cell="gru", **{f"model__{kind}": 0.5})
    model = built(made)
    logits = compiled.logits(model, made, 2)
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
