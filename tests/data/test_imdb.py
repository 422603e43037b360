import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from rnnexp.config.trial import DataConfig
from rnnexp.data.store import TokenStore, prepare
from rnnexp.home import Home

pytestmark = [
    pytest.mark.imdb,
    pytest.mark.skipif(not os.environ.get("RNNEXP_DATA"), reason="RNNEXP_DATA names no folder with the IMDB set"),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home.open(tmp_path_factory.mktemp("imdb"))


@pytest.fixture(scope="module")
def store(home: Home) -> TokenStore:
    return prepare(DataConfig(), home)


def test_texts_and_labels_are_the_same_as_in_keras(store: TokenStore) -> None:
    assert (store.n_pool, store.n_test, store.labels) == (25_000, 25_000, ("negative", "positive"))
    assert store.token_ids(0)[:6].tolist() == [1, 14, 22, 16, 43, 530]
    assert store.token_ids(int(store.test_rows[0]))[:6].tolist() == [1, 591, 202, 14, 31, 6]
    assert store.label_ids[:10].tolist() == [1, 0, 0, 1, 0, 0, 1, 0, 1, 0]
    assert store.label_ids[: store.n_pool].sum() == 12_500
    assert store.label_ids[store.test_rows].sum() == 12_500


def test_the_whole_vocabulary_is_kept(store: TokenStore) -> None:
    assert len(store.vocabulary.words) == 88_584
    assert store.vocabulary.words[:3] == ("the", "and", "a")


def test_a_review_is_shown_as_words(store: TokenStore, home: Home, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rnnexp", "data", "show", "imdb", "0", "--home", str(home.root)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    about, words = done.stdout.splitlines()
    assert about.startswith("imdb 0 (training pool): positive, 218 ids")
    assert words.startswith("this film was just brilliant")


@pytest.fixture(scope="module")
def rows_by_number(store: TokenStore) -> dict[int, np.ndarray]:
    """The row of each review of the training pool by label and number; its file was called NUMBER_RATING.txt."""
    file_rows = np.arange(25_000)
    np.random.RandomState(113).shuffle(file_rows)  # as `load_data` of Keras does
    row_of_file_row = np.argsort(file_rows)
    numbers = np.array(sorted(range(12_500), key=lambda number: f"{number}_7.txt"))
    place_of_number = np.argsort(numbers)
    return {1: row_of_file_row[place_of_number], 0: row_of_file_row[12_500 + place_of_number]}


@pytest.fixture(scope="module")
def names(store: TokenStore) -> list[set[int]]:
    """The rare words of each review of the training pool: those of 2 to 20 reviews, mostly names."""
    words = [np.unique(store.token_ids(row)) for row in range(store.n_pool)]
    n_reviews = np.bincount(np.concatenate(words))
    rare = (n_reviews >= 2) & (n_reviews <= 20)
    return [set(ids[rare[ids]].tolist()) for ids in words]


def _mean_shared(names: list[set[int]], rows: np.ndarray, others: np.ndarray) -> float:
    return float(np.mean([len(names[row] & names[other]) for row, other in zip(rows, others, strict=True)]))


def test_reviews_with_neighbouring_numbers_are_of_one_film(
    names: list[set[int]], rows_by_number: dict[int, np.ndarray], store: TokenStore
) -> None:
    for label, rows in rows_by_number.items():
        assert (store.label_ids[rows] == label).all()
        assert _mean_shared(names, rows[:-1], rows[1:]) > 0.3
        assert _mean_shared(names, rows[:-50], rows[50:]) < 0.01
        assert _mean_shared(names, rows[:-500], rows[500:]) < 0.01
    positive, negative = rows_by_number[1], rows_by_number[0]
    assert _mean_shared(names, positive, negative) < 0.01, "the same number of another label is another film"


def test_a_split_by_film_holds_out_whole_blocks_of_neighbouring_reviews(
    store: TokenStore, rows_by_number: dict[int, np.ndarray]
) -> None:
    for seed in (0, 1, 2):
        parts = store.split(DataConfig(split="by_film", seed=seed))
        held = np.zeros(store.n_pool, dtype=bool)
        held[parts.validation] = True
        blocks = held[rows_by_number[1]].reshape(-1, 50).mean(axis=1)
        assert set(blocks.tolist()) == {0.0, 1.0}
        changes = {label: int(np.abs(np.diff(held[rows].astype(int))).sum()) for label, rows in rows_by_number.items()}
        assert max(changes.values()) < 2 * 125, "few films are at the end of a block"
        n_of_class = np.bincount(store.label_ids[parts.validation])
        assert np.abs(n_of_class - 2500).max() <= 25
    digests = {store.split(DataConfig(split="by_film", seed=seed)).digest for seed in (0, 0, 1, 2)}
    assert len(digests) == 3


def _share_with_a_film_of_the_training_part(store: TokenStore, names: list[set[int]], config: DataConfig) -> np.ndarray:
    """The share of validation reviews that have 4 rare words in common with a training review of the same label, and
    of another label."""
    parts = store.split(config)
    reviews_with: dict[int, list[int]] = {}
    for row in parts.train.tolist():
        for word in names[row]:
            reviews_with.setdefault(word, []).append(row)
    found = np.zeros(2)
    for row in parts.validation.tolist():
        n_shared = Counter(other for word in names[row] for other in reviews_with.get(word, ()))
        labels = {store.label_ids[other] == store.label_ids[row] for other, n in n_shared.items() if n >= 4}
        found += [True in labels, False in labels]
    return found / len(parts.validation)


def test_a_split_by_film_separates_the_films(store: TokenStore, names: list[set[int]]) -> None:
    at_random = _share_with_a_film_of_the_training_part(store, names, DataConfig())
    by_film = _share_with_a_film_of_the_training_part(store, names, DataConfig(split="by_film"))
    assert at_random[0] > 0.11
    assert at_random[1] > 0.025
    assert by_film[0] < 0.035, "between the training and the test part it is 0.012"
    assert by_film[1] < 0.02
