import itertools
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnexp.config.trial import DataConfig
from rnnexp.data.batches import Batch, Batches, words_for_unknown
from rnnexp.data.padding import bucket_lengths, pad
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
    assert share < 0.25, "this part is small, so its pools are small"
    assert fixed > 1.5 * share


def test_a_large_part_has_little_padding(tmp_path: Path) -> None:
    store = _reviews(tmp_path, 2500)
    batches = Batches(store, np.arange(2500), 100, 150, 8, "bucketed", bucket_lengths(150))
    epoch = list(batches.shuffled(0, 1))
    assert np.mean(np.concatenate([batch.tokens.ravel() for batch in epoch]) == 0) < 0.12


def test_fixed_batches_all_have_maxlen(store: TokenStore) -> None:
    assert {batch.tokens.shape[1] for batch in _batches(store, "fixed").in_order()} == {_MAXLEN}


def test_fewer_rows_than_a_batch_are_one_batch(store: TokenStore) -> None:
    batches = _batches(store, n_rows=3)
    assert len(batches) == 1
    (batch,) = batches.shuffled(0, 1)
    assert len(batch.rows) == 3


def _reviews(tmp_path: Path, n_rows: int) -> TokenStore:
    """Texts with the spread of lengths of film reviews."""
    rng = np.random.default_rng(3)
    lengths = np.clip(rng.lognormal(3.4, 0.7, size=round(n_rows * 1.3)), 1, 150).astype(int)
    lines = [f"{'w ' * length},{n % 2}" for n, length in enumerate(lengths)]
    (tmp_path / "own.csv").write_text("text,label\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return prepare(DataConfig(path=str(tmp_path / "own.csv")), Home.open(tmp_path / "home"))


def _share_that_meets_again(batches: Batches, n_epochs: int = 12) -> float:
    """The share of the pairs of texts of one batch that are in one batch in the next epoch too."""
    n_pairs, n_again = 0, 0
    batch_of = []
    for epoch in range(n_epochs):
        at = np.zeros(batches.store.n_pool, dtype=int)
        for index, batch in enumerate(batches.shuffled(0, epoch)):
            at[batch.rows] = index
        batch_of.append(at[batches.rows])
    for first, second in itertools.pairwise(batch_of):
        together = (first[:, None] == first) & ~np.eye(len(first), dtype=bool)
        n_pairs += int(together.sum())
        n_again += int((together & (second[:, None] == second)).sum())
    return n_again / n_pairs


@pytest.mark.parametrize(("batch_size", "at_random"), [(128, 0.19), (32, 0.047)])
def test_texts_of_a_batch_rarely_meet_again_in_a_small_data_set(
    tmp_path: Path, batch_size: int, at_random: float
) -> None:
    store = _reviews(tmp_path, 667)
    rows = np.arange(667)
    batches = Batches(store, rows, 100, 150, batch_size, "bucketed", bucket_lengths(150))
    assert _share_that_meets_again(batches) < max(1.2 * at_random, 0.2)
    fixed = Batches(store, rows, 100, 150, batch_size, "fixed", bucket_lengths(150))
    assert _share_that_meets_again(fixed) == pytest.approx(at_random, rel=0.1)


@pytest.mark.parametrize(("n_rows", "batch_size"), [(667, 128), (667, 32), (301, 16), (50, 16)])
def test_each_text_is_equally_often_in_the_short_batch(tmp_path: Path, n_rows: int, batch_size: int) -> None:
    store, n_epochs = _reviews(tmp_path, n_rows), 400
    rows = np.arange(n_rows)
    batches = Batches(store, rows, 100, 150, batch_size, "bucketed", bucket_lengths(150))
    n_short, weights, first = np.zeros(n_rows), np.zeros(n_rows), 0
    for epoch in range(n_epochs):
        drawn = list(batches.shuffled(0, epoch))
        first += len(drawn[0].rows) < batch_size
        for batch in drawn:
            weights[batch.rows] += 1 / len(batch.rows)
            if len(batch.rows) < batch_size:
                n_short[batch.rows] += 1
    share = n_rows % batch_size / n_rows
    spread = np.sqrt(n_epochs * share * (1 - share))
    assert np.abs(n_short - n_epochs * share).max() < 5 * spread
    lengths = store.lengths(rows, 150)
    longest, shortest = np.argsort(lengths)[-n_rows // 10 :], np.argsort(lengths)[: n_rows // 10]
    assert weights[longest].mean() == pytest.approx(weights[shortest].mean(), rel=0.1)
    assert abs(first - n_epochs / len(batches)) < 5 * np.sqrt(n_epochs / len(batches)), "its place is random too"


@settings(max_examples=30, deadline=None)
@given(n_rows=st.integers(1, 376), batch_size=st.integers(1, 400), epoch=st.integers(0, 9))
def test_any_number_of_rows_is_cut_into_whole_batches_and_one_rest(
    store: TokenStore, n_rows: int, batch_size: int, epoch: int
) -> None:
    rows = np.arange(store.n_pool)[:n_rows]
    batches = Batches(store, rows, 100, _MAXLEN, batch_size, "bucketed", bucket_lengths(_MAXLEN, 8))
    drawn = list(batches.shuffled(0, epoch))
    assert sorted(_order(drawn)) == sorted(rows.tolist())
    rest = [n_rows % batch_size] if n_rows % batch_size else []
    assert sorted(len(batch.rows) for batch in drawn) == rest + [batch_size] * (n_rows // batch_size)
    assert len(drawn) == len(batches)


def _with_new_words(tmp_path: Path, n_rows: int = 60) -> tuple[TokenStore, DataConfig]:
    """Texts that each have a word that no other text has."""
    lines = [f"all texts have these words and text{n},{n % 2}" for n in range(n_rows)]
    (tmp_path / "texts.csv").write_text("text,label\n" + "\n".join(lines) + "\n", encoding="utf-8")
    config = DataConfig(path=str(tmp_path / "texts.csv"))
    return prepare(config, Home.open(tmp_path / "home")), config


def test_the_unknown_id_is_trained_although_the_vocabulary_has_every_word(tmp_path: Path) -> None:
    store, config = _with_new_words(tmp_path)
    parts = store.split(config)
    rare = words_for_unknown(store, parts.train, 1000)
    own = {int(store.token_ids(int(row))[-1]) for row in parts.train}
    assert set(rare.tolist()) == own, "the words that occur once"
    batches = Batches(store, parts.train, 1000, _MAXLEN, 8, "bucketed", bucket_lengths(_MAXLEN), rare)
    n_unknown = []
    for epoch in range(40):
        drawn = list(batches.shuffled(0, epoch))
        ids = {row: tokens for batch in drawn for row, tokens in zip(batch.rows.tolist(), batch.tokens, strict=True)}
        for row, tokens in ids.items():
            expected = store.token_ids(row)
            assert tokens[: len(expected) - 1].tolist() == expected[:-1].tolist()
            assert tokens[len(expected) - 1] in (2, expected[-1])
        n_unknown.append(sum(int((batch.tokens == 2).sum()) for batch in drawn))
    assert np.mean(n_unknown) == pytest.approx(len(parts.train) / 2, rel=0.1)
    assert len(set(n_unknown)) > 5, "drawn anew in each epoch"
    again = [batch.tokens.tolist() for batch in batches.shuffled(0, 3)]
    assert again == [batch.tokens.tolist() for batch in batches.shuffled(0, 3)]
    assert not any((batch.tokens == 2).any() for batch in batches.in_order()), "in training only"
    plain = Batches(store, parts.train, 1000, _MAXLEN, 8, "bucketed", bucket_lengths(_MAXLEN))
    assert [b.rows.tolist() for b in plain.shuffled(0, 3)] == [b.rows.tolist() for b in batches.shuffled(0, 3)]


def test_no_word_is_replaced_if_the_texts_have_unknown_words(tmp_path: Path) -> None:
    store, config = _with_new_words(tmp_path)
    parts = store.split(config)
    n_ids = len(store.vocabulary.words) + 4
    assert len(words_for_unknown(store, parts.train, n_ids)) == len(parts.train)
    assert len(words_for_unknown(store, parts.train, n_ids - 1)) == 0, "the last word is unknown"
    assert len(words_for_unknown(store, np.arange(store.n_pool), n_ids)) == 0, "of the validation part too"


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
