"""What a trial is estimated to cost, and how many threads follow from it."""

from rnnexp.config.trial import TrialConfig
from rnnexp.model.cost import useful_threads

SMALL = TrialConfig().with_settings({"model.cell": "simple_rnn", "model.units": 16})
LARGE = SMALL.with_settings({"model.cell": "lstm", "model.units": 128})


def test_a_small_step_has_one_thread_on_any_machine() -> None:
    assert useful_threads(SMALL, 100, 64) == 1


def test_a_large_step_has_all_threads_while_there_is_work_for_each() -> None:
    assert useful_threads(LARGE, 200, 1) == 1
    assert useful_threads(LARGE, 200, 2) == 2
    assert 4 <= useful_threads(LARGE, 200, 64) <= 8
    assert useful_threads(LARGE.with_settings({"train.batch_size": 32}), 200, 64) == 2
    assert useful_threads(LARGE.with_settings({"train.batch_size": 8}), 200, 64) == 1
