"""The contestants of the benchmark `rivals` get the same work."""

import os
from pathlib import Path

import numpy as np
import pytest
import yaml

from rnnexp.config.load import load_sweep
from rnnexp.data.store import prepare
from rnnexp.data.text import cut
from rnnexp.home import Home
from tests.benchmarks import plain
from tests.benchmarks.rivals.contestants import build_sweep
from tests.benchmarks.rivals.task import Task


def test_sweep_has_the_eight_configurations_as_first_trials(tmp_path: Path) -> None:
    file = tmp_path / "eight.yaml"
    file.write_text(yaml.safe_dump(build_sweep(Task(tmp_path, 3, False), list(range(8)))))
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
    file.write_text(yaml.safe_dump(build_sweep(Task(tmp_path, 0, False), list(range(8)))))
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
