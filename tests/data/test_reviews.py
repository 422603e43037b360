import itertools
from typing import Any

import numpy as np

from rnnexp.config.trial import DataConfig
from rnnexp.data.sets import reviews
from rnnexp.data.text import words


def test_a_seed_gives_the_same_reviews() -> None:
    assert list(reviews.generate(50, 3)) == list(reviews.generate(50, 3))
    assert list(reviews.generate(50, 3)) != list(reviews.generate(50, 4))


def test_the_first_rows_do_not_depend_on_the_number_of_rows() -> None:
    assert list(reviews.generate(20, 3)) == list(itertools.islice(reviews.generate(400, 3), 20))


def test_both_labels_are_equally_frequent() -> None:
    labels = [label for _, label in reviews.generate(1000, 0)]
    assert set(labels) == {0, 1}
    assert 0.45 < np.mean(labels) < 0.55


def test_reviews_are_varied_texts() -> None:
    texts = [text for text, _ in reviews.generate(500, 0)]
    assert len(set(texts)) > 490
    lengths = [len(text.split()) for text in texts]
    assert min(lengths) >= 10
    assert max(lengths) > 2 * min(lengths)


def test_no_word_determines_the_label() -> None:
    """Each opinion word is in reviews of both labels: the order of the words matters."""
    rows = list(reviews.generate(1500, 0))
    for word in ("superb", "brilliant", "dull", "boring", "never", "although"):
        share = np.mean([label for text, label in rows if word in text.lower().split()])
        assert 0.15 < share < 0.85, word


def test_a_third_of_the_reviews_state_the_label_only_far_from_the_end() -> None:
    opinions = {*reviews._PRAISE, *reviews._BLAME}
    distances = []
    for text, _ in reviews.generate(1000, 0):
        tokens = words(text)
        distances.append(next(n for n, word in enumerate(reversed(tokens)) if word in opinions))
    far = [distance for distance in distances if distance > 50]
    assert 0.25 < len(far) / len(distances) < 0.45
    assert np.mean(far) > 80
    assert max(distance for distance in distances if distance <= 50) < 30


def test_the_default_length_keeps_every_review_whole() -> None:
    assert all(len(words(text)) + 1 <= 200 for text, _ in reviews.generate(1000, 0))


def test_as_many_rows_are_generated_as_the_training_part_needs() -> None:
    for samples in (None, 100, 20_000):
        config = DataConfig(name="reviews", train_samples=samples)
        n = reviews.n_rows(config)
        n_test = round(n * 0.2 / 1.2)
        assert (n - n_test) * 0.8 >= (samples or 0)
    assert reviews.n_rows(DataConfig(name="reviews")) == 25_000


def test_the_identity_changes_if_the_rows_change() -> None:
    base = DataConfig(name="reviews")
    changes: list[dict[str, Any]] = [{"seed": 1}, {"train_samples": 9}, {"validation_split": 0.3}, {"split": "tail"}]
    same: list[dict[str, Any]] = [{"maxlen": 9}, {"vocab_size": 99}, {"padding": "fixed"}]
    assert all(reviews.identity(base.model_copy(update=change)) != reviews.identity(base) for change in changes)
    assert all(reviews.identity(base.model_copy(update=change)) == reviews.identity(base) for change in same)
