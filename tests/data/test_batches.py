from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnexp.config.trial import DataConfig
from rnnexp.data.batches import Batch, Batches, bucket_lengths, pad
from rnnexp.data.store import TokenStore, prepare
from rnnexp.home import Home

_MAXLEN, _BATCH_SIZE = 48, 16


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    """470 texts of 1 to 60 words."""
    folder = tmp_path_factory.mktemp("batches")
    rng = np.random.default_rng(0)
    lines = [
        f"{' '.join(f'w{word}' for word in rng.integers(50, size=rng.integers(1, 61)))},{n % 2}" for n in range(470)
    ]
    (folder / "texts.csv").write_text("text,label\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return prepare(DataConfig(path=str(folder / "texts.csv")), Home.open(folder / "home"))


def _batches(
    store: TokenStore, padding: Literal["bucketed", "fixed"] = "bucketed", vocab_size: int = 100, n_rows: int = 301
) -> Batches:
    rows = np.random.default_rng(1).permutation(store.n_pool)[:n_rows]
    return Batches(store, rows, vocab_size, _MAXLEN, _BATCH_SIZE, padding, bucket_lengths(_MAXLEN, 8))


def _order(epoch: "list[Batch]") -> list[int]:
    return [int(row) for batch in epoch for row in batch.rows]


@pytest.mark.parametrize("padding", ["bucketed", "fixed"])
def test_an_epoch_has_each_row_once(store: TokenStore, padding: Literal["bucketed", "fixed"]) -> None:
    batches = _batches(store, padding)
    for epoch in (list(batches.shuffled(0, 1)), list(batches.shuffled(0, 2)), list(batches.in_order())):
        assert sorted(_order(epoch)) == sorted(batches.rows.tolist())
        assert len(epoch) == len(batches) == 19
        assert sorted(len(batch.rows) for batch in epoch) == [301 % _BATCH_SIZE] + [_BATCH_SIZE] * 18


@pytest.mark.parametrize("padding", ["bucketed", "fixed"])
def test_the_order_depends_only_on_seed_and_epoch(store: TokenStore, padding: Literal["bucketed", "fixed"]) -> None:
    first = _order(list(_batches(store, padding).shuffled(5, 2)))
    assert _order(list(_batches(store, padding).shuffled(5, 2))) == first
    assert _order(list(_batches(store, padding).shuffled(5, 3))) != first
    assert _order(list(_batches(store, padding).shuffled(6, 2))) != first


def test_batches_are_not_ordered_by_length(store: TokenStore) -> None:
    lengths = [batch.tokens.shape[1] for batch in _batches(store).shuffled(0, 1)]
    assert lengths != sorted(lengths)
    assert lengths != sorted(lengths, reverse=True)


@pytest.mark.parametrize("padding", ["bucketed", "fixed"])
def test_a_batch_holds_its_rows_cut_and_padded(store: TokenStore, padding: Literal["bucketed", "fixed"]) -> None:
    for batch in _batches(store, padding, vocab_size=30).shuffled(0, 1):
        assert batch.tokens.dtype == np.int32
        assert batch.labels.tolist() == store.label_ids[batch.rows].tolist()
        for tokens, row in zip(batch.tokens, batch.rows, strict=True):
            expected = [token if token < 30 else 2 for token in store.token_ids(int(row)).tolist()[-_MAXLEN:]]
            n_pad = batch.tokens.shape[1] - len(expected)
            assert tokens.tolist() == ([0] * n_pad + expected if padding == "fixed" else expected + [0] * n_pad)


def test_bucketed_batches_have_a_buckets_length_and_little_padding(store: TokenStore) -> None:
    batches = _batches(store)
    epoch = list(batches.shuffled(0, 1))
    assert {batch.tokens.shape[1] for batch in epoch} <= set(batches.bucket_lengths)
    share = np.mean(np.concatenate([batch.tokens.ravel() for batch in epoch]) == 0)
    fixed = np.mean(np.concatenate([batch.tokens.ravel() for batch in _batches(store, "fixed").shuffled(0, 1)]) == 0)
    assert share < 0.15
    assert fixed > 2 * share


def test_fixed_batches_all_have_maxlen(store: TokenStore) -> None:
    assert {batch.tokens.shape[1] for batch in _batches(store, "fixed").in_order()} == {_MAXLEN}


def test_fewer_rows_than_a_batch_are_one_batch(store: TokenStore) -> None:
    batches = _batches(store, n_rows=3)
    assert len(batches) == 1
    (batch,) = batches.shuffled(0, 1)
    assert len(batch.rows) == 3


@settings(max_examples=50, deadline=None)
@given(maxlen=st.integers(1, 600), n_buckets=st.integers(1, 20))
def test_buckets_ascend_to_maxlen(maxlen: int, n_buckets: int) -> None:
    lengths = bucket_lengths(maxlen, n_buckets)
    assert list(lengths) == sorted(set(lengths))
    assert lengths[0] >= 1
    assert lengths[-1] == maxlen
    assert len(lengths) <= n_buckets
    steps = np.diff([0, *lengths])
    assert max(steps) <= -(-maxlen // n_buckets)


def test_bucketed_padding_is_at_the_end_and_fixed_padding_at_the_start() -> None:
    reviews: list[Any] = [np.array([1, 5], np.int32), np.array([1, 6, 7], np.int32)]
    assert pad(reviews, "bucketed", 8, (2, 4, 8)).tolist() == [[1, 5, 0, 0], [1, 6, 7, 0]]
    assert pad(reviews[:1], "bucketed", 8, (2, 4, 8)).tolist() == [[1, 5]]
    assert pad(reviews, "fixed", 5, (2, 4, 8)).tolist() == [[0, 0, 0, 1, 5], [0, 0, 1, 6, 7]]
