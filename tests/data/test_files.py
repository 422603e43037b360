from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rnnexp.config.trial import DataConfig
from rnnexp.data.store import prepare
from rnnexp.errors import DataError
from rnnexp.home import Home
from tests.data.text_files import ROWS, refusal, store_of, text_file, words_of, write_csv, write_json_lines


def test_the_four_formats_give_the_same_store(tmp_path: Path) -> None:
    frame = pd.DataFrame(ROWS, columns=["text", "label"])
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "a.tsv", index=False, sep="\t")
    frame.to_parquet(tmp_path / "a.parquet")
    write_json_lines(tmp_path, [{"text": text, "label": label} for text, label in ROWS])
    stores = [store_of(tmp_path, tmp_path / f"a.{kind}") for kind in ("csv", "tsv", "jsonl", "parquet")]
    assert len({store.root for store in stores}) == 4
    first = stores[0]
    assert (first.n_pool, first.n_test, first.labels) == (24, 6, ("0", "1"))
    assert set(words_of(first)) <= {
        f"a {kind} film no {number} indeed" for kind in ("good", "bad") for number in [*range(30), "<?>"]
    }
    for other in stores[1:]:
        assert other.labels == first.labels
        assert other.vocabulary.words == first.vocabulary.words
        assert other.label_ids.tolist() == first.label_ids.tolist()
        assert words_of(other) == words_of(first)


def test_each_label_stays_with_its_text(tmp_path: Path) -> None:
    store = store_of(tmp_path, write_csv(tmp_path, ROWS))
    for text, label in zip(words_of(store), store.label_ids, strict=True):
        assert text.split()[1] == ("good" if store.labels[label] == "1" else "bad")


def test_several_classes_and_columns_of_other_names(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": range(30), "body": ["word"] * 30, "mood": ["glad", "sad", "calm"] * 10})
    frame.to_csv(tmp_path / "a.csv", index=False)
    store = store_of(tmp_path, tmp_path / "a.csv", text="body", label="mood")
    assert store.labels == ("calm", "glad", "sad")
    assert np.bincount(store.label_ids).tolist() == [10, 10, 10]
    assert np.bincount(store.label_ids[store.test_rows]).tolist() == [2, 2, 2]
    assert (store.task.n_outputs, store.task.loss) == (3, "sparse_categorical_crossentropy")


def test_numeric_labels_are_sorted_by_number(tmp_path: Path) -> None:
    rows = [("word", str(star)) for star in (10, 9, -1, 2)] * 4
    assert store_of(tmp_path, write_csv(tmp_path, rows)).labels == ("-1", "2", "9", "10")


@pytest.mark.parametrize("label", ["²", "--1", "-", "1-2", "①"])
def test_labels_that_only_look_like_numbers_are_names(tmp_path: Path, label: str) -> None:
    rows = [("word", label), ("word", "3")] * 6
    assert store_of(tmp_path, write_csv(tmp_path, rows)).labels == ("3", label)


@pytest.mark.parametrize("values", [[0.0, 1.0], [0, 1]])
def test_whole_numbers_that_were_stored_as_floats_are_the_same_labels(tmp_path: Path, values: list[float]) -> None:
    frame = pd.DataFrame({"text": ["word"] * 10, "label": values * 5})
    frame.to_parquet(tmp_path / "a.parquet")
    assert store_of(tmp_path, tmp_path / "a.parquet").labels == ("0", "1")


def test_words_that_pandas_reads_as_missing_are_words(tmp_path: Path) -> None:
    rows = [("NA", "None"), ("null nan", "n/a")] * 6
    store = store_of(tmp_path, write_csv(tmp_path, rows))
    assert store.labels == ("None", "n/a")
    assert set(words_of(store)) == {"na", "null nan"}


def test_a_byte_order_mark_is_not_part_of_the_header(tmp_path: Path) -> None:
    sound = write_csv(tmp_path, ROWS).read_bytes()
    assert store_of(tmp_path, text_file(tmp_path, "b.csv", b"\xef\xbb\xbf" + sound)).labels == ("0", "1")


def test_the_vocabulary_is_built_from_the_training_part_only(tmp_path: Path) -> None:
    rows = [(f"shared only{row}", str(row % 2)) for row in range(40)]
    config = DataConfig(name="mine", path=str(write_csv(tmp_path, rows)), train_samples=10)
    store = prepare(config, Home.open(tmp_path / "home"))
    parts = store.split(config)
    assert len(store.vocabulary.words) == 1 + 10
    for row in range(40):
        trained = row in parts.train
        assert (store.token_ids(row)[2] != 2) == trained


def test_a_text_with_half_a_surrogate_pair_is_read_or_refused(tmp_path: Path) -> None:
    """JSON can contain half of a surrogate pair, for example if a text was truncated."""
    path = write_json_lines(tmp_path, [{"text": f"film \ud83d {row}", "label": row % 2} for row in range(20)])
    try:
        store = store_of(tmp_path, path)
    except DataError as error:
        assert str(path) in str(error)
    else:
        assert store.labels == ("0", "1")


@pytest.mark.parametrize("column", ["text", "label"])
def test_the_error_of_a_missing_column_suggests_the_most_similar(tmp_path: Path, column: str) -> None:
    path = write_csv(tmp_path, ROWS)
    message = refusal(tmp_path, path, **{column: f"{column}s"})
    assert message == f"no column '{column}s'; did you mean {column}?; name yours in data.text and data.label"


def test_the_error_of_unknown_columns_lists_the_columns(tmp_path: Path) -> None:
    path = text_file(tmp_path, "a.csv", "x,y\n1,2\n")
    assert refusal(tmp_path, path).startswith("no column 'text'; expected one of x, y")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "", "empty; expected a header line and rows"),
        ("a.jsonl", "", "no rows; expected one JSON object on each line"),
        ("a.csv", "text,label\n", "no rows; expected texts and their labels"),
        ("a.csv", b"text,label\nsch\xf6n,1\n", "not UTF-8"),
        ("a.jsonl", b'{"text": "sch\xf6n", "label": 1}\n', "not UTF-8"),
        ("a.csv", "text,label\na,1\nb,0,2\n", "cannot be read as .csv"),
        ("a.csv", 'text,label\n"a,1\nb,0\n', "cannot be read as .csv"),
        ("a.parquet", "junk", "cannot be read as .parquet"),
        ("a.jsonl", '{"text": "a", "label": 1}\n{"text"\n', "line 2 is not JSON"),
        ("a.jsonl", '{"text": "a", "label": 1}\n["b", 0]\n', "line 2 is a list, expected an object"),
        ("a.xlsx", "x", "got a file with suffix .xlsx, expected one of .csv, .tsv, .jsonl, .parquet"),
        ("a", "x", "got a file with no suffix, expected one of"),
    ],
)
def test_the_error_of_an_unreadable_file_has_the_reason(
    tmp_path: Path, name: str, content: str | bytes, words: str
) -> None:
    assert words in refusal(tmp_path, text_file(tmp_path, name, content))


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    assert "no such file; data.path names" in refusal(tmp_path, tmp_path / "gone.csv")
    (tmp_path / "folder.csv").mkdir()
    assert "cannot be read" in refusal(tmp_path, tmp_path / "folder.csv")


def test_a_path_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    for name in ("x" * 5000 + ".csv", "a\0b.csv"):
        with pytest.raises(DataError, match="cannot be read") as caught:
            prepare(DataConfig(name="mine", path=str(tmp_path / name)), Home.open(tmp_path / "home"))
        assert str(caught.value).isprintable()


def test_a_text_with_unquoted_commas_is_refused(tmp_path: Path) -> None:
    """Each row has one field more than the header, so it is not known which words belong to which column."""
    path = text_file(tmp_path, "a.csv", "text,label\n" + "".join(f"long, dull {n},{n % 2}\n" for n in range(20)))
    assert refusal(tmp_path, path)


def test_one_class_only_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, write_csv(tmp_path, [("a", "good")] * 9)) == (
        "one label only, 'good'; expected two or more classes"
    )


def test_a_label_column_with_too_many_values_is_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path, [("a", f"id{row}") for row in range(1001)])
    assert "1001 different labels, expected at most 1000" in refusal(tmp_path, path)


@pytest.mark.parametrize(("n", "words"), [(1, "label 'b' has 1 row, expected"), (2, "label 'b' has 2 rows, expected")])
def test_a_class_needs_a_row_for_each_part(tmp_path: Path, n: int, words: str) -> None:
    assert words in refusal(tmp_path, write_csv(tmp_path, [("x", "a")] * 9 + [("x", "b")] * n))


def test_three_rows_of_each_class_are_enough(tmp_path: Path) -> None:
    store = store_of(tmp_path, write_csv(tmp_path, [("x", "a"), ("x", "b")] * 3))
    config = DataConfig(name="mine", path="a.csv")
    parts = store.split(config)
    for rows in (parts.train, parts.validation, store.test_rows):
        assert sorted(store.label_ids[rows].tolist()) == [0, 1]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_missing_texts_and_labels_are_counted_and_located(tmp_path: Path, kind: str) -> None:
    if kind == "csv":
        path = write_csv(tmp_path, [*ROWS, ("x", ""), ("y", "1"), ("z", "  ")])
    else:
        rows: list[dict[str, Any]] = [{"text": text, "label": label} for text, label in ROWS]
        path = write_json_lines(
            tmp_path, [*rows, {"text": "x"}, {"text": "y", "label": "1"}, {"text": "z", "label": None}]
        )
    assert "column 'label' is empty in 2 of 33 rows (row 31, 33)" in refusal(tmp_path, path)


def test_too_many_training_rows_are_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, write_csv(tmp_path, ROWS), train_samples=25)
    assert message == "data.train_samples: got 25, expected at most 20, the size of the training part"
