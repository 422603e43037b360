from pathlib import Path

import pytest

from rnnexp.data.sets import imdb
from rnnexp.errors import DataError


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "5",
        "[" * 100_000,
        '{"a": 2}',
        '{"a": "x"}',
        '{"a": 1e999}',
        '{"a": [1]}',
        '{"a": ' + "9" * 5000 + "}",
        '{"a\\nb": 1}',
    ],
    ids=lambda content: content[:12],
)
def test_a_damaged_word_index_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "index.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"index\.json: damaged .*expected words and their ranks"):
        imdb._vocabulary(path)


def test_a_word_index_is_read_in_the_order_of_the_ranks(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text('{"b": 2, "a": 1}', encoding="utf-8")
    assert imdb._vocabulary(tmp_path / "index.json").words == ("a", "b")
