"""A trial whose training steps compute in bfloat16: its weights, its result and its model are those of float32."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnexp.config.trial import TrialConfig
from rnnexp.home import Home
from rnnexp.trial import events
from rnnexp.trial.answer import Answer
from rnnexp.trial.plan import choose
from tests.trial.test_fit import Trial

pytestmark = pytest.mark.tensorflow

MIXED = "mixed_bfloat16"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home.open(tmp_path_factory.mktemp("home"))


def _curve(trial: Trial) -> list[dict[str, float]]:
    return [event.metrics for event in events.epochs(events.read(trial.folder.events))]


def _types_of_products(trial: Trial) -> set[str]:
    """The types of the matrix products in a training step, also inside of its loops."""
    from rnnexp.model.build import build
    from rnnexp.model.clipping import optimizer
    from rnnexp.trial.fit import Network

    config, task = trial.config, trial.store.task
    model = build(config, task.n_outputs, task.activation)
    of_weights = optimizer(config.train, config.clip)
    of_weights.build(model.trainable_variables)
    network = Network(model, of_weights, config, task, choose(config, 1))
    graph = network._train_step.get_concrete_function().graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    types = {node.attr["T"].type for node in nodes if node.op == "MatMul"}
    import tensorflow as tf

    return {str(tf.as_dtype(type_).name) for type_ in types}


def _result(trial: Trial) -> tuple[Any, np.ndarray]:
    import keras

    model = keras.saving.load_model(trial.folder.best, compile=False, safe_mode=True)
    with np.load(trial.folder.held_out) as file:
        return model, file["probabilities"]


@pytest.mark.parametrize("cell", ["simple_rnn", "gru", "lstm"])
def test_the_recurrent_layers_compute_in_bfloat16_and_the_head_in_float32(
    home: Home, tmp_path: Path, cell: str
) -> None:
    mixed = Trial(home, tmp_path / "mixed", **{"model.cell": cell, "train.precision": MIXED})
    assert _types_of_products(mixed) == {"bfloat16", "float32"}
    assert choose(mixed.config, 1).kernel == "stock", "the compiled loops have no bfloat16"


def test_its_model_is_float32_and_gives_the_recorded_probabilities(home: Home, tmp_path: Path) -> None:
    from rnnexp.trial import fit

    plain = Trial(home, tmp_path / "plain", **{"train.epochs": 2})
    mixed = Trial(home, tmp_path / "mixed", **{"train.epochs": 2, "train.precision": MIXED})
    plain.run()
    mixed.run()
    assert _curve(mixed) != _curve(plain)
    for former, now in zip(_curve(plain), _curve(mixed), strict=True):
        assert now["val_loss"] == pytest.approx(former["val_loss"], abs=0.05)

    model, recorded = _result(mixed)
    assert {weight.dtype for weight in model.weights if "seed" not in weight.path} == {"float32"}
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    rows = mixed.store.split(mixed.config.data).validation
    _, computed = fit.evaluate(model, mixed.config, mixed.store, choose(TrialConfig(), 1), rows)
    assert np.abs(computed - recorded).max() < 1e-5


def test_it_resumes_to_the_same_bits(home: Home, tmp_path: Path) -> None:
    settings = {"train.epochs": 3, "train.precision": MIXED, "model.dropout": 0.3, "model.recurrent_dropout": 0.2}
    whole, paused = Trial(home, tmp_path / "whole", **settings), Trial(home, tmp_path / "paused", **settings)
    whole.run()
    paused.run(lambda event: Answer.PAUSE if event.epoch == 1 else True)
    paused.run()
    assert _curve(paused) == _curve(whole)
    for one, other in zip(_result(whole)[0].get_weights(), _result(paused)[0].get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
