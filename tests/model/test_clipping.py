"""The bounds hold in the update itself, with words that repeat."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from rnnexp.config.trial import ClipConfig, TrainConfig

pytestmark = pytest.mark.tensorflow

TOKENS = np.array([[3, 3, 3, 4, 3, 3, 5, 3, 3, 3]] * 4, dtype="int32")


@pytest.fixture
def model() -> Iterator[Any]:
    import keras

    keras.utils.set_random_seed(0)
    made = keras.Sequential(
        [keras.layers.Embedding(8, 4), keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(1)]
    )
    made(TOKENS)
    yield made


def update(model: Any, optimizer: Any) -> list[np.ndarray]:
    """The change that one step makes to each variable; with SGD at rate 1 it is the gradient that was applied."""
    import tensorflow as tf

    optimizer.build(model.trainable_variables)
    before = model.get_weights()
    with tf.GradientTape() as tape:
        # Steep on purpose, so that every bound is far exceeded.
        loss = tf.reduce_sum(model(TOKENS) * 50.0)
    optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
    return [old - new for old, new in zip(before, model.get_weights(), strict=True)]


def clipping(kind: str, threshold: float | None) -> Any:
    from rnnexp.model.clipping import optimizer

    return optimizer(TrainConfig(optimizer="sgd", learning_rate=1.0), ClipConfig(kind=kind, threshold=threshold))  # type: ignore[arg-type]


def total_norm(changes: list[np.ndarray]) -> float:
    return float(np.sqrt(sum(np.sum(change**2) for change in changes)))


def test_without_clipping_the_gradient_is_large(model: Any) -> None:
    assert total_norm(update(model, clipping("none", None))) > 50


def test_value_bounds_every_entry(model: Any) -> None:
    changes = update(model, clipping("value", 0.5))
    assert max(np.abs(change).max() for change in changes) == pytest.approx(0.5, abs=1e-6)


def test_norm_bounds_every_variable(model: Any) -> None:
    norms = [float(np.linalg.norm(change)) for change in update(model, clipping("norm", 1.0))]
    assert norms == pytest.approx([1.0] * len(norms), abs=1e-5)


def test_global_norm_bounds_all_together(model: Any) -> None:
    assert total_norm(update(model, clipping("global_norm", 1.0))) == pytest.approx(1.0, abs=1e-5)


def test_global_norm_keeps_the_direction(model: Any) -> None:
    weights = model.get_weights()
    free = update(model, clipping("none", None))
    model.set_weights(weights)
    bound = update(model, clipping("global_norm", 1.0))
    ratios = [np.linalg.norm(b) / np.linalg.norm(f) for b, f in zip(bound, free, strict=True)]
    assert ratios == pytest.approx([ratios[0]] * len(ratios), rel=1e-4)


def test_a_bound_that_is_not_reached_changes_nothing(model: Any) -> None:
    weights = model.get_weights()
    free = update(model, clipping("none", None))
    for kind in ("value", "norm", "global_norm"):
        model.set_weights(weights)
        for one, other in zip(update(model, clipping(kind, 1e6)), free, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6)


def test_the_clipping_of_keras_does_not_hold_here(model: Any) -> None:
    """Why this module exists; if this test fails, Keras has fixed it."""
    import keras

    changes = update(model, keras.optimizers.SGD(1.0, clipvalue=0.5))
    assert max(np.abs(change).max() for change in changes) > 0.6


@pytest.mark.parametrize("name", ["rmsprop", "adam", "adamw", "sgd"])
def test_the_clip_rate_and_the_norm_before_clipping_are_counted(model: Any, name: str) -> None:
    from rnnexp.model.clipping import optimizer

    made = optimizer(TrainConfig(optimizer=name), ClipConfig(kind="global_norm", threshold=1.0))  # type: ignore[arg-type]
    update(model, made)
    read = made.read_clipping()
    assert read["clip/rate"] == 1.0
    assert read["clip/grad_norm"] > 50
    assert made.read_clipping() == {"clip/rate": 0.0, "clip/grad_norm": 0.0}, "each epoch starts with zero"
    free = optimizer(TrainConfig(optimizer=name), ClipConfig())  # type: ignore[arg-type]
    update(model, free)
    assert free.read_clipping()["clip/rate"] == 0.0


def test_the_decay_of_adamw_is_a_setting(model: Any) -> None:
    """A step subtracts the learning rate times the decay of each weight, whatever the gradient."""
    from rnnexp.model.clipping import optimizer

    weights, changes = model.get_weights(), {}
    for decay in (None, 0.0, 0.004, 2.0):
        model.set_weights(weights)
        made = optimizer(TrainConfig(optimizer="adamw", learning_rate=0.1, weight_decay=decay), ClipConfig())
        changes[decay] = update(model, made)
    for index, weight in enumerate(weights):
        free = changes[0.0][index]
        np.testing.assert_allclose(changes[2.0][index] - free, 0.1 * 2.0 * weight, atol=1e-6)
        np.testing.assert_array_equal(changes[None][index], changes[0.004][index], "as before this was a setting")
