from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnexp.data import tokenized
from rnnexp.data.text import Vocabulary, words
from rnnexp.data.tokenized import tokenize

_TEXTS = st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=8).map(" ".join), min_size=1, max_size=30)


def _vocabulary_of_lists(texts: list[str]) -> Vocabulary:
    """Ranks the words of texts that are all in memory."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(words(text))
    return Vocabulary(tuple(word for word, _ in counts.most_common()))


@settings(max_examples=200, deadline=None)
@given(texts=_TEXTS, data=st.data(), n_rows=st.integers(1, 9))
def test_words_are_ranked_and_encoded_as_by_lists(texts: list[str], data: st.DataObject, n_rows: int) -> None:
    train = sorted(data.draw(st.sets(st.integers(0, len(texts) - 1))))
    wanted = data.draw(st.lists(st.integers(0, len(texts) - 1)))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tokenized, "_N_ROWS", n_rows)
        numbers = tokenize(texts)
        vocabulary, ids = numbers.rank(np.array(train, dtype=np.int64))
    assert vocabulary == _vocabulary_of_lists([texts[row] for row in train])
    encoded = numbers.encoded(np.array(wanted, dtype=np.int64), ids)
    assert len(encoded) == len(wanted)
    assert [ids.tolist() for ids in encoded] == [vocabulary.encode(words(texts[row])).tolist() for row in wanted]
    assert {ids.dtype for ids in encoded} <= {np.dtype(np.uint32)}


def test_words_are_ranked_by_frequency_then_by_first_occurrence() -> None:
    assert tokenize(["b c a", "a c c"]).rank(np.arange(2))[0].words == ("c", "a", "b")


def test_words_of_other_texts_are_unknown_and_do_not_change_the_order() -> None:
    """The word z is first in the file, but not first in the training rows."""
    numbers = tokenize(["z y x", "y z", "x y z"])
    vocabulary, ids = numbers.rank(np.array([1]))
    assert vocabulary.words == ("y", "z")
    assert [text.tolist() for text in numbers.encoded(np.array([2, 0]), ids)] == [[1, 2, 4, 5], [1, 5, 4, 2]]


def test_a_text_without_words_is_a_start() -> None:
    numbers = tokenize(["", "..."])
    vocabulary, ids = numbers.rank(np.arange(2))
    assert (len(numbers), numbers.n_tokens, vocabulary.words) == (2, 2, ())
    assert [text.tolist() for text in numbers.encoded(np.arange(2), ids)] == [[1], [1]]
