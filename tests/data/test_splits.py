import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rnnexp.config.trial import DataConfig
from rnnexp.data.splits import Split, hold_out, split
from rnnexp.errors import DataError

_LABELS = st.lists(st.integers(2, 30), min_size=2, max_size=4).flatmap(
    lambda counts: st.permutations([label for label, count in enumerate(counts) for _ in range(count)])
)


def _labels(*counts: int) -> "np.ndarray[tuple[int], np.dtype[np.int32]]":
    return np.repeat(np.arange(len(counts), dtype=np.int32), counts)


@settings(max_examples=50, deadline=None)
@given(rows=_LABELS, share=st.floats(0.05, 0.9), how=st.sampled_from(["stratified", "tail"]), seed=st.integers(0, 99))
def test_two_parts_are_disjoint_complete_and_ascending(rows: list[int], share: float, how: str, seed: int) -> None:
    labels = np.array(rows, dtype=np.int32)
    if how == "tail" and not int(len(rows) * (1 - share)):
        how = "stratified"
    kept, held = hold_out(labels, share, how, seed, "x")
    assert len(kept)
    assert len(held)
    assert sorted([*kept, *held]) == list(range(len(rows)))
    assert kept.tolist() == sorted(kept)
    assert held.tolist() == sorted(held)


@settings(max_examples=50, deadline=None)
@given(rows=_LABELS, share=st.floats(0.05, 0.9), seed=st.integers(0, 99))
def test_each_class_gives_its_share_within_one_row(rows: list[int], share: float, seed: int) -> None:
    labels = np.array(rows, dtype=np.int32)
    kept, held = hold_out(labels, share, "stratified", seed, "x")
    for label in set(rows):
        assert abs(np.sum(labels[held] == label) - rows.count(label) * share) <= 1
        assert np.sum(labels[kept] == label) >= 1
        assert np.sum(labels[held] == label) >= 1


def test_the_seed_draws_the_split() -> None:
    labels = _labels(50, 50)
    first, again, other = (split(labels, DataConfig(seed=seed), "x") for seed in (1, 1, 2))
    assert first.digest == again.digest
    assert first.validation.tolist() == again.validation.tolist()
    assert first.validation.tolist() != other.validation.tolist()
    assert first.digest != other.digest


def _mixed(n: int) -> NDArray[np.int32]:
    """Two classes in turn."""
    return (np.arange(n) % 2).astype(np.int32)


def test_the_tail_is_the_last_part_for_every_seed() -> None:
    for seed in (0, 1):
        parts = split(_mixed(10), DataConfig(split="tail", validation_split=0.2, seed=seed), "x")
        assert parts.train.tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
        assert parts.validation.tolist() == [8, 9]


def test_the_seed_draws_which_training_rows_are_taken() -> None:
    labels = np.tile(np.arange(2, dtype=np.int32), 50)
    first, other = (split(labels, DataConfig(split="tail", train_samples=30, seed=seed), "x") for seed in (0, 1))
    assert first.train.tolist() != other.train.tolist()


def test_the_tail_of_imdb_is_the_same_as_in_the_notebook() -> None:
    parts = split(_mixed(25_000), DataConfig(split="tail", validation_split=0.2), "x")
    assert (len(parts.train), parts.validation[0]) == (20_000, 20_000)


def test_fewer_training_rows_do_not_change_the_validation_part() -> None:
    labels = _labels(50, 50)
    whole, some = split(labels, DataConfig(), "x"), split(labels, DataConfig(train_samples=30), "x")
    assert some.validation.tolist() == whole.validation.tolist()
    assert len(some.train) == 30
    assert set(some.train) < set(whole.train)
    assert some.digest != whole.digest
    assert split(labels, DataConfig(train_samples=80), "x").train.tolist() == whole.train.tolist()


def test_the_digest_depends_on_the_boundary_of_the_parts() -> None:
    one = Split(np.array([0, 1]), np.array([2]))
    two = Split(np.array([0]), np.array([1, 2]))
    assert one.digest != two.digest


@pytest.mark.parametrize(
    ("counts", "settings_", "words"),
    [
        ((5, 1), {}, "class 1 has 1 row"),
        ((50, 50), {"train_samples": 81}, "got 81, expected at most 80"),
        ((50, 50), {"train_samples": 1}, "the training part has only one class (1 rows)"),
        ((50, 50), {"split": "tail"}, "the validation part has only one class (20 rows)"),
        ((1, 0), {"split": "tail"}, "1 rows cannot be split"),
        ((1, 1), {"split": "tail", "validation_split": 0.9}, "2 rows cannot be split"),
    ],
)
def test_too_few_rows_are_refused(counts: tuple[int, ...], settings_: dict[str, object], words: str) -> None:
    with pytest.raises(DataError, match=f"^mine: .*{re.escape(words)}"):
        split(_labels(*counts), DataConfig.model_validate(settings_), "mine")
