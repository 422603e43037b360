"""The contestants of the benchmarks `rivals` and `accuracy` get the same work and are compared fairly."""

import os
import random
import statistics
from pathlib import Path

import numpy as np
import pytest
import yaml

from rnnexp.config.load import load_sweep
from rnnexp.data.store import prepare
from rnnexp.data.text import cut
from rnnexp.home import Home
from tests.benchmarks import plain
from tests.benchmarks.accuracy import MARGIN, compare, interval, standard_error
from tests.benchmarks.harness import Result
from tests.benchmarks.rivals import StoredRun, rotated
from tests.benchmarks.rivals.contestants import build_sweep, build_task
from tests.benchmarks.rivals.task import Task, parse_arguments
from tests.benchmarks.rivals.variants import batches_by_length, whole_gradient_optimizer


def test_sweep_has_the_eight_configurations_as_first_trials(tmp_path: Path) -> None:
    file = tmp_path / "eight.yaml"
    file.write_text(yaml.safe_dump(build_sweep(Task(tmp_path, 3, False))))
    config = load_sweep(file, {})
    trials = [config.base.with_settings(settings) for settings in config.tries]
    assert config.n_trials == len(trials) == 8
    for trial, settings in zip(trials, plain.CONFIGURATIONS, strict=True):
        assert trial.model.model_dump(include={"cell", "units", "embedding_dim"}) == {
            name: settings[name] for name in ("cell", "units", "embedding_dim")
        }
        assert (trial.data.maxlen, trial.clip.kind) == (settings["maxlen"], settings["clip"])
        assert trial.clip.threshold == settings["threshold"]
        assert (trial.train.epochs, trial.train.batch_size) == (plain.EPOCHS, plain.BATCH_SIZE)
        assert (trial.train.optimizer, trial.train.seed) == ("rmsprop", 3)


@pytest.mark.imdb
@pytest.mark.tensorflow
@pytest.mark.skipif("RNNEXP_DATA" not in os.environ, reason="needs the IMDB data set (RNNEXP_DATA)")
def test_sweep_uses_the_training_and_validation_rows_of_the_plain_loop(tmp_path: Path) -> None:
    file = tmp_path / "eight.yaml"
    file.write_text(yaml.safe_dump(build_sweep(Task(tmp_path, 0, False))))
    config = load_sweep(file, {}).base.data
    store = prepare(config, Home.open(tmp_path / "home"))
    parts = store.split(config)
    length = 50
    for rows, (x, y) in zip((parts.train, parts.validation), plain.data(length), strict=True):
        assert len(rows) == len(y)
        np.testing.assert_array_equal(store.label_ids[rows], y)
        for row, padded in list(zip(rows, x, strict=True))[::997]:
            tokens = cut(store.token_ids(int(row)), plain.VOCAB_SIZE, length)
            np.testing.assert_array_equal(tokens, padded[length - len(tokens) :])


def test_every_contestant_gets_the_longest_configurations_first(tmp_path: Path) -> None:
    task = build_task(tmp_path, 3, False)
    assert sorted(task.order) == list(range(8))
    assert task.order != tuple(range(8))
    assert plain.CONFIGURATIONS[task.order[0]]["cell"] == "lstm"
    assert plain.CONFIGURATIONS[task.order[-1]] == min(
        plain.CONFIGURATIONS,
        key=lambda one: (
            one["units"]
            * (one["units"] + one["embedding_dim"])
            * one["maxlen"]
            * {"simple_rnn": 1, "gru": 3, "lstm": 4}[one["cell"]]
        ),
    )
    assert parse_arguments(task.arguments())[0] == task, "a rival's program gets the same order"
    points = build_sweep(task)["try"]
    expected = [plain.CONFIGURATIONS[index] for index in task.order]
    assert [point["model.units"] for point in points] == [settings["units"] for settings in expected]


def test_each_contestant_is_first_in_turn() -> None:
    names = ["a", "b", "c"]
    orders = [rotated(names, number) for number in range(4)]
    assert [order[0] for order in orders] == ["a", "b", "c", "a"]
    assert all(sorted(order) == names for order in orders)


def runs(shift: float, noise: float, n_seeds: int = 8) -> Result:
    """Compares two contestants whose accuracies differ by a shift."""
    rng = random.Random(4)
    lines: list[StoredRun] = [
        {
            "contestant": name,
            "round": seed,
            "accuracies": [0.87 + rng.gauss(0, noise) + (shift if name == "ours" else 0) for _ in range(8)],
        }
        for seed in range(n_seeds)
        for name in ("plain", "ours")
    ]
    return compare(lines, "plain", "ours", ["plain", "ours"], enough=True)


def test_the_accuracy_target_is_a_fixed_margin_by_cell() -> None:
    result = runs(shift=0.0, noise=0.002)
    assert [target.name.split(":")[0] for target in result.targets] == ["simple_rnn", "gru", "lstm"]
    assert all(target.bound == -MARGIN == -0.005 for target in result.targets)
    assert all(target.met for target in result.targets)
    assert not any(target.met for target in runs(shift=-0.01, noise=0.002).targets)


def test_noise_makes_the_accuracy_target_harder() -> None:
    """A bound of two standard errors below zero was the easier to meet the noisier the accuracies were."""
    quiet, noisy = runs(shift=-0.004, noise=0.0005), runs(shift=-0.004, noise=0.03)
    assert all(target.met for target in quiet.targets)
    assert not any(target.met for target in noisy.targets)


def test_few_seeds_have_no_target() -> None:
    result = runs(shift=0.0, noise=0.001, n_seeds=7)
    assert result.targets == []
    assert "no target: it needs 8 seeds and all texts" in result.notes


def test_the_interval_covers_the_true_difference() -> None:
    rng, n_covered = random.Random(1), 0
    for _ in range(300):
        one, other = ([rng.gauss(mean, 0.01) for _ in range(8)] for mean in (0.87, 0.88))
        _, low, _ = interval(one, other)
        n_covered += low <= -0.01
    assert 0.91 < n_covered / 300 < 0.99


def test_the_standard_error_of_an_accuracy() -> None:
    assert standard_error(0.87, 5000) == pytest.approx(0.00476, abs=1e-5)


def test_batches_by_length_hold_every_row_once() -> None:
    lengths = np.random.default_rng(0).integers(10, 400, 2000)
    batches = batches_by_length(lengths, np.random.default_rng(1))
    np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(2000))
    assert max(map(len, batches)) == plain.BATCH_SIZE
    spread = statistics.fmean(float(np.ptp(lengths[rows])) for rows in batches)
    assert spread < 60, "the texts of a batch have similar lengths"
    assert [len(rows) for rows in batches] != [
        len(rows) for rows in batches_by_length(lengths, np.random.default_rng(2))
    ]


@pytest.mark.tensorflow
def test_whole_gradients_are_the_textbook_s_and_stock_ones_are_not() -> None:
    """A word that occurs twice with gradients 1 and 1 has the gradient 2 and the square 4; stock RMSprop takes 2."""
    import keras
    import tensorflow as tf

    moments = {}
    for name, made in (("stock", keras.optimizers.RMSprop), ("whole", whole_gradient_optimizer())):
        table = keras.Variable(np.zeros((3, 1), np.float32))
        optimizer = made(learning_rate=0.1, rho=0.5)
        optimizer.build([table])
        gradient = tf.IndexedSlices(tf.constant([[1.0], [1.0]]), tf.constant([1, 1]), tf.constant([3, 1]))
        optimizer.apply([gradient], [table])
        moments[name] = float(np.asarray(optimizer._velocities[0])[1, 0])
    assert moments == {"stock": 0.5 * 2.0, "whole": 0.5 * 4.0}
