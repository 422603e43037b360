from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnexp.data.text import PUNCTUATION, SPACES, Vocabulary, cut, words

_VOCABULARY = Vocabulary(("the", "film", "don't"))
_LISTS_OF_WORDS = st.lists(st.text("abcdé'", min_size=1, max_size=6), max_size=20)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The film, the FILM!", ["the", "film", "the", "film"]),
        ("don't<br /><br />stop", ["don't", "br", "br", "stop"]),
        ("one-two_three/four", ["one", "two", "three", "four"]),
        ("a\tb\nc\u00a0d\u3000e", ["a", "b", "c", "d", "e"]),
        ("Ünïcode ÉTÉ 1999", ["ünïcode", "été", "1999"]),
        ("well\x85 then", ["well\x85", "then"]),
        ("", []),
        (" ... \n", []),
    ],
)
def test_a_text_is_split_as_by_the_tokenizer_of_keras(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@settings(max_examples=50, deadline=None)
@given(text=st.text(st.characters(codec="utf-8") | st.sampled_from(PUNCTUATION + SPACES + "ABC'\x85"), max_size=60))
def test_no_word_holds_punctuation_or_spaces(text: str) -> None:
    parted = words(text)
    assert all(parted)
    joined = "".join(parted)
    assert not set(joined) & set(PUNCTUATION)
    assert not any(char.isspace() for char in joined.replace("\x85", ""))
    assert words(" ".join(parted)) == parted


def test_ids_are_those_of_keras_imdb() -> None:
    """Pad 0, start 1, unknown 2, and the word of rank r is r + 3."""
    assert _VOCABULARY.encode(["film", "the", "don't", "zebra"]).tolist() == [1, 5, 4, 6, 2]
    assert _VOCABULARY.encode([]).tolist() == [1]
    assert _VOCABULARY.decode([0, 0, 1, 5, 4, 6, 2]) == "film the don't <?>"


def test_ids_beyond_the_vocabulary_are_shown_as_unknown() -> None:
    assert _VOCABULARY.decode([1, 3, 4, 7, 10**6]) == "<?> the <?> <?>"
    assert _VOCABULARY.decode([2], unknown="") == ""


@settings(max_examples=50, deadline=None)
@given(texts=st.lists(_LISTS_OF_WORDS, max_size=6))
def test_decoding_inverts_encoding(texts: list[list[str]]) -> None:
    vocabulary = Vocabulary(tuple(dict.fromkeys(word for text in texts for word in text)))
    for text in texts:
        ids = vocabulary.encode(text)
        assert len(ids) == len(text) + 1
        assert vocabulary.decode(ids) == " ".join(text)


@pytest.mark.parametrize("size", [1, 3, 4, 5, 6, 7, 100])
def test_a_vocabulary_of_size_v_keeps_the_ids_below_v(size: int) -> None:
    kept = _VOCABULARY.cut(size)
    full = _VOCABULARY.encode(_VOCABULARY.words)
    assert kept.encode(_VOCABULARY.words).tolist() == [1, *(token if token < size else 2 for token in full[1:])]


@pytest.mark.parametrize("content", [(), ("one",), ("été", "don't", "well\x85", "日本")])
def test_a_vocabulary_survives_its_file(tmp_path: Path, content: tuple[str, ...]) -> None:
    Vocabulary(content).save(tmp_path / "vocabulary.txt")
    assert Vocabulary.load(tmp_path / "vocabulary.txt").words == content


def test_cutting_keeps_the_last_words_and_makes_rare_words_unknown() -> None:
    ids = np.array([1, 10, 4, 11, 5, 9], dtype=np.uint32)
    assert cut(ids, vocab_size=11, maxlen=4).tolist() == [4, 2, 5, 9]
    assert cut(ids, vocab_size=100, maxlen=100).tolist() == ids.tolist()
    assert cut(ids, vocab_size=5, maxlen=1).tolist() == [2]
    assert ids.tolist() == [1, 10, 4, 11, 5, 9]
