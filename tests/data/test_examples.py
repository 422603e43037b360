from pathlib import Path

import pytest

from rnnexp.config.trial import DataConfig
from rnnexp.data.examples import example_text
from rnnexp.data.store import TokenStore, prepare
from rnnexp.home import Home


def _store(folder: Path, texts: list[str]) -> tuple[TokenStore, DataConfig]:
    path = folder / "texts.jsonl"
    rows = [f'{{"text": "{text}", "label": {row % 2}}}\n' for row, text in enumerate(texts)]
    path.write_text("".join(rows), encoding="utf-8")
    config = DataConfig(path=str(path), split="tail", validation_split=0.25)
    return prepare(config, Home.open(folder / "home")), config


_TRAINED = ["the parcel was late and don't ask why it took so long to come here again at all today"] * 24


def test_the_example_is_the_shortest_held_out_text_of_known_words_without_quotes(tmp_path: Path) -> None:
    held_out = ["late", "why don't you ask", "the parcel zzz came late", "ask why the parcel was late", *_TRAINED[:2]]
    store, config = _store(tmp_path, [*_TRAINED[:18], *held_out, *_TRAINED[:6]])
    texts = [store.vocabulary.decode(store.token_ids(int(row))) for row in store.split(config).validation]
    assert set(held_out[3:]) <= set(texts)
    assert example_text(store, config) == "ask why the parcel was late"


def test_a_long_example_is_cut_to_twelve_words(tmp_path: Path) -> None:
    store, config = _store(tmp_path, _TRAINED)
    assert example_text(store, config) == "the parcel was late and don't ask why it took so long"


@pytest.mark.parametrize(("word", "shown"), [("x" * 200, "some text"), ("late", "late late")])
def test_short_or_unprintable_texts_still_give_an_example(tmp_path: Path, word: str, shown: str) -> None:
    store, config = _store(tmp_path, [f"{word} {word}"] * 24)
    assert example_text(store, config) == shown


def test_unknown_words_are_left_out(tmp_path: Path) -> None:
    store, config = _store(tmp_path, [*["good film"] * 12, *[f"good film w{row} x{row}" for row in range(12)]])
    assert example_text(store, config) == "good film"


def test_a_generated_review_gives_a_readable_example(tmp_path: Path) -> None:
    config = DataConfig(name="reviews", train_samples=100)
    text = example_text(prepare(config, Home.open(tmp_path / "home")), config)
    assert 4 <= len(text.split()) <= 12
    assert text.isprintable()
    assert "<" not in text
