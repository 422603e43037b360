"""What a trial is estimated to cost, and how many threads follow from it."""

import pytest

from rnnexp.config.trial import TrialConfig
from rnnexp.data.store import TokenStore, prepare
from rnnexp.home import Home
from rnnexp.trial.cost import threads

SMALL = TrialConfig().with_settings(
    {"data.name": "reviews", "data.padding": "fixed", "data.maxlen": 100, "model.cell": "simple_rnn", "model.units": 16}
)
LARGE = SMALL.with_settings({"data.maxlen": 200, "model.cell": "lstm", "model.units": 128})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    return prepare(SMALL.data, Home.open(tmp_path_factory.mktemp("home")))


def test_a_small_step_has_one_thread_whatever_there_is(store: TokenStore) -> None:
    assert threads(SMALL, store, 64) == 1


def test_a_large_step_has_all_while_there_is_work_for_each(store: TokenStore) -> None:
    assert threads(LARGE, store, 1) == 1
    assert threads(LARGE, store, 2) == 2
    assert 4 <= threads(LARGE, store, 64) <= 8
    assert threads(LARGE.with_settings({"train.batch_size": 32}), store, 64) == 2
    assert threads(LARGE.with_settings({"train.batch_size": 8}), store, 64) == 1
