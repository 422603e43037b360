import os
import subprocess
import sys
from pathlib import Path

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
