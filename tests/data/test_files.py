import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rnnexp.config.trial import DataConfig
from rnnexp.data.store import TokenStore, prepare
from rnnexp.errors import DataError
from rnnexp.home import Home

_ROWS = [(f'{"A good" if row % 2 else "A bad"} film, "no. {row}"\tindeed', str(row % 2)) for row in range(30)]


def _store(tmp_path: Path, path: Path, **settings: Any) -> TokenStore:
    values = {"name": "mine", "path": str(path), **settings}
    return prepare(DataConfig.model_validate(values), Home.open(tmp_path / "home"))


def _refusal(tmp_path: Path, path: Path, **settings: Any) -> str:
    """Returns the error of a faulty file, which is one line; no file may be left in the home."""
    with pytest.raises(DataError) as caught:
        _store(tmp_path, path, **settings)
    assert not (tmp_path / "home").exists()
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def _text_file(tmp_path: Path, name: str, content: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def _csv(tmp_path: Path, rows: list[tuple[str, str]], name: str = "a.csv") -> Path:
    path = tmp_path / name
    pd.DataFrame(rows, columns=["text", "label"]).to_csv(path, index=False)
    return path


def _json_lines(tmp_path: Path, rows: list[dict[str, Any]]) -> Path:
    return _text_file(tmp_path, "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def _words(store: TokenStore) -> list[str]:
    return [store.vocabulary.decode(store.token_ids(row)) for row in range(store.n_pool + store.n_test)]


def test_the_four_formats_give_the_same_store(tmp_path: Path) -> None:
    frame = pd.DataFrame(_ROWS, columns=["text", "label"])
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "a.tsv", index=False, sep="\t")
    frame.to_parquet(tmp_path / "a.parquet")
    _json_lines(tmp_path, [{"text": text, "label": label} for text, label in _ROWS])
    stores = [_store(tmp_path, tmp_path / f"a.{kind}") for kind in ("csv", "tsv", "jsonl", "parquet")]
    assert len({store.root for store in stores}) == 4
    first = stores[0]
    assert (first.n_pool, first.n_test, first.labels) == (24, 6, ("0", "1"))
    assert set(_words(first)) <= {
        f"a {kind} film no {number} indeed" for kind in ("good", "bad") for number in [*range(30), "<?>"]
    }
    for other in stores[1:]:
        assert other.labels == first.labels
        assert other.vocabulary.words == first.vocabulary.words
        assert other.label_ids.tolist() == first.label_ids.tolist()
        assert _words(other) == _words(first)


def test_each_label_stays_with_its_text(tmp_path: Path) -> None:
    store = _store(tmp_path, _csv(tmp_path, _ROWS))
    for text, label in zip(_words(store), store.label_ids, strict=True):
        assert text.split()[1] == ("good" if store.labels[label] == "1" else "bad")


def test_several_classes_and_columns_of_other_names(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": range(30), "body": ["word"] * 30, "mood": ["glad", "sad", "calm"] * 10})
    frame.to_csv(tmp_path / "a.csv", index=False)
    store = _store(tmp_path, tmp_path / "a.csv", text="body", label="mood")
    assert store.labels == ("calm", "glad", "sad")
    assert np.bincount(store.label_ids).tolist() == [10, 10, 10]
    assert np.bincount(store.label_ids[store.test_rows]).tolist() == [2, 2, 2]
    assert (store.task.n_outputs, store.task.loss) == (3, "sparse_categorical_crossentropy")


def test_numeric_labels_are_sorted_by_number(tmp_path: Path) -> None:
    rows = [("word", str(star)) for star in (10, 9, -1, 2)] * 4
    assert _store(tmp_path, _csv(tmp_path, rows)).labels == ("-1", "2", "9", "10")


@pytest.mark.parametrize("label", ["²", "--1", "-", "1-2", "①"])
def test_labels_that_only_look_like_numbers_are_names(tmp_path: Path, label: str) -> None:
    rows = [("word", label), ("word", "3")] * 6
    assert _store(tmp_path, _csv(tmp_path, rows)).labels == ("3", label)


@pytest.mark.parametrize("values", [[0.0, 1.0], [0, 1]])
def test_whole_numbers_that_were_stored_as_floats_are_the_same_labels(tmp_path: Path, values: list[float]) -> None:
    frame = pd.DataFrame({"text": ["word"] * 10, "label": values * 5})
    frame.to_parquet(tmp_path / "a.parquet")
    assert _store(tmp_path, tmp_path / "a.parquet").labels == ("0", "1")


def test_words_that_pandas_reads_as_missing_are_words(tmp_path: Path) -> None:
    rows = [("NA", "None"), ("null nan", "n/a")] * 6
    store = _store(tmp_path, _csv(tmp_path, rows))
    assert store.labels == ("None", "n/a")
    assert set(_words(store)) == {"na", "null nan"}


def test_a_byte_order_mark_is_not_part_of_the_header(tmp_path: Path) -> None:
    sound = _csv(tmp_path, _ROWS).read_bytes()
    assert _store(tmp_path, _text_file(tmp_path, "b.csv", b"\xef\xbb\xbf" + sound)).labels == ("0", "1")


def test_the_vocabulary_is_built_from_the_training_part_only(tmp_path: Path) -> None:
    rows = [(f"shared only{row}", str(row % 2)) for row in range(40)]
    config = DataConfig(name="mine", path=str(_csv(tmp_path, rows)), train_samples=10)
    store = prepare(config, Home.open(tmp_path / "home"))
    parts = store.split(config)
    assert len(store.vocabulary.words) == 1 + 10
    for row in range(40):
        trained = row in parts.train
        assert (store.token_ids(row)[2] != 2) == trained


def test_a_text_with_half_a_surrogate_pair_is_read_or_refused(tmp_path: Path) -> None:
    """JSON can contain half of a surrogate pair, for example if a text was truncated."""
    path = _json_lines(tmp_path, [{"text": f"film \ud83d {row}", "label": row % 2} for row in range(20)])
    try:
        store = _store(tmp_path, path)
    except DataError as error:
        assert str(path) in str(error)
    else:
        assert store.labels == ("0", "1")


@pytest.mark.parametrize("column", ["text", "label"])
def test_the_error_of_a_missing_column_suggests_the_most_similar(tmp_path: Path, column: str) -> None:
    path = _csv(tmp_path, _ROWS)
    message = _refusal(tmp_path, path, **{column: f"{column}s"})
    assert message == f"no column '{column}s'; did you mean {column}?; name yours in data.text and data.label"


def test_the_error_of_unknown_columns_lists_the_columns(tmp_path: Path) -> None:
    path = _text_file(tmp_path, "a.csv", "x,y\n1,2\n")
    assert _refusal(tmp_path, path).startswith("no column 'text'; expected one of x, y")


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
    assert words in _refusal(tmp_path, _text_file(tmp_path, name, content))


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    assert "no such file; data.path names" in _refusal(tmp_path, tmp_path / "gone.csv")
    (tmp_path / "folder.csv").mkdir()
    assert "cannot be read" in _refusal(tmp_path, tmp_path / "folder.csv")


def test_a_path_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    for name in ("x" * 5000 + ".csv", "a\0b.csv"):
        with pytest.raises(DataError, match="cannot be read") as caught:
            prepare(DataConfig(name="mine", path=str(tmp_path / name)), Home.open(tmp_path / "home"))
        assert str(caught.value).isprintable()


def test_a_text_with_unquoted_commas_is_refused(tmp_path: Path) -> None:
    """Each row has one field more than the header, so it is not known which words belong to which column."""
    path = _text_file(tmp_path, "a.csv", "text,label\n" + "".join(f"long, dull {n},{n % 2}\n" for n in range(20)))
    assert _refusal(tmp_path, path)


def test_one_class_only_is_refused(tmp_path: Path) -> None:
    assert _refusal(tmp_path, _csv(tmp_path, [("a", "good")] * 9)) == (
        "one label only, 'good'; expected two or more classes"
    )


def test_a_label_column_with_too_many_values_is_refused(tmp_path: Path) -> None:
    path = _csv(tmp_path, [("a", f"id{row}") for row in range(1001)])
    assert "1001 different labels, expected at most 1000" in _refusal(tmp_path, path)


@pytest.mark.parametrize(("n", "words"), [(1, "label 'b' has 1 row, expected"), (2, "label 'b' has 2 rows, expected")])
def test_a_class_needs_a_row_for_each_part(tmp_path: Path, n: int, words: str) -> None:
    assert words in _refusal(tmp_path, _csv(tmp_path, [("x", "a")] * 9 + [("x", "b")] * n))


def test_three_rows_of_each_class_are_enough(tmp_path: Path) -> None:
    store = _store(tmp_path, _csv(tmp_path, [("x", "a"), ("x", "b")] * 3))
    config = DataConfig(name="mine", path="a.csv")
    parts = store.split(config)
    for rows in (parts.train, parts.validation, store.test_rows):
        assert sorted(store.label_ids[rows].tolist()) == [0, 1]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_missing_texts_and_labels_are_counted_and_located(tmp_path: Path, kind: str) -> None:
    if kind == "csv":
        path = _csv(tmp_path, [*_ROWS, ("x", ""), ("y", "1"), ("z", "  ")])
    else:
        rows: list[dict[str, Any]] = [{"text": text, "label": label} for text, label in _ROWS]
        path = _json_lines(tmp_path, [*rows, {"text": "x"}, {"text": "y", "label": "1"}, {"text": "z", "label": None}])
    assert "column 'label' is empty in 2 of 33 rows (row 31, 33)" in _refusal(tmp_path, path)


def test_too_many_training_rows_are_refused(tmp_path: Path) -> None:
    message = _refusal(tmp_path, _csv(tmp_path, _ROWS), train_samples=25)
    assert message == "data.train_samples: got 25, expected at most 20, the size of the training part"


def _tables(tmp_path: Path, rows: list[tuple[str, str]]) -> list[Path]:
    """Writes the rows in each of the four formats, between two other columns."""
    frame = pd.DataFrame([("x", text, label, 1.5) for text, label in rows], columns=["a", "text", "label", "b"])
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "a.tsv", index=False, sep="\t")
    frame.to_parquet(tmp_path / "a.parquet", row_group_size=7)
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    return [tmp_path / f"a.{kind}" for kind in ("csv", "tsv", "jsonl", "parquet")]


@pytest.mark.parametrize("n_rows", [1, 3, 10, 40, 41])
def test_a_file_that_is_read_in_parts_gives_the_same_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_rows: int
) -> None:
    rows = [(f"word{row * row % 7} word{row % 5} again {row // 9}", "abc"[row % 3]) for row in range(40)]
    paths = _tables(tmp_path, rows)
    whole = [_store(tmp_path / "whole", path) for path in paths]
    monkeypatch.setattr("rnnexp.data.rows._N_ROWS", n_rows)
    for path, expected in zip(paths, whole, strict=True):
        store = _store(tmp_path / "parts", path)
        assert store.digest == expected.digest
        for name in ("tokens.npy", "offsets.npy", "labels.npy", "vocabulary.txt", "meta.json"):
            assert (store.root / name).read_bytes() == (expected.root / name).read_bytes(), (path, name)


def test_the_store_of_a_file_is_the_same_as_in_earlier_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home keeps the stores that it has, and trials on them can be compared with new ones."""
    lines = [f'"Row {row * row % 11}, the ""{row % 4}"" and {row}!",{"yes" if row % 3 else "no"}' for row in range(50)]
    _text_file(tmp_path, "a.csv", "text,label\n" + "\n".join(lines) + "\n")
    monkeypatch.chdir(tmp_path)
    store = _store(tmp_path, Path("a.csv"))
    meta = json.loads((store.root / "meta.json").read_text(encoding="utf-8"))
    assert store.root.name == "mine-28e9e139b34f6049"
    assert {name: digest[:16] for name, digest in meta["files"].items()} == {
        "tokens.npy": "fb00c4d887ce319f",
        "offsets.npy": "0ceb220003c05da4",
        "labels.npy": "679a0ef140901748",
        "vocabulary.txt": "84bd85fac85e99d5",
    }


@pytest.mark.parametrize("n_rows", [2, 1000])
def test_faulty_rows_are_counted_over_all_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_rows: int) -> None:
    monkeypatch.setattr("rnnexp.data.rows._N_ROWS", n_rows)
    rows = [("" if row in (4, 9, 11, 13) else "word", str(row % 2)) for row in range(15)]
    assert _refusal(tmp_path, _csv(tmp_path, rows)) == (
        "column 'text' is empty in 4 of 15 rows (row 5, 10, 12, …); fill them in or remove the rows"
    )


@pytest.mark.parametrize("n_rows", [1, 2, 3, 4, 1000])
@pytest.mark.parametrize("at", [2, 3, 5, 8])
def test_a_row_with_too_many_fields_is_refused_in_every_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_rows: int, at: int
) -> None:
    monkeypatch.setattr("rnnexp.data.rows._N_ROWS", n_rows)
    lines = ["word,0", "word,1"] * 5
    lines[at] = "long, dull,1"
    path = _text_file(tmp_path, "a.csv", "text,label\n" + "\n".join(lines) + "\n")
    assert re.search("more fields than the header|Expected 2 fields", _refusal(tmp_path, path))


def test_a_key_that_only_later_rows_have_is_a_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnnexp.data.rows._N_ROWS", 2)
    path = _json_lines(tmp_path, [{"text": "a"}] * 5 + [{"text": "b", "label": 1}])
    assert _refusal(tmp_path, path).startswith("column 'label' is empty in 5 of 6 rows (row 1, 2, 3, …)")
    path = _json_lines(tmp_path, [{"text": "a", "lable": 1}] * 5)
    assert _refusal(tmp_path, path).startswith("no column 'label'; did you mean lable?")


def test_a_json_line_that_is_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    path = _text_file(tmp_path, "a.jsonl", '{"text": "a", "label": ' + "[" * 100_000 + "]" * 100_000 + "}\n")
    assert _refusal(tmp_path, path) == "line 1 is nested too deeply"


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table([["a"] * 9, ["b"] * 9, [1, 2, 3] * 3], names=["text", "text", "label"])
    pq.write_table(table, tmp_path / "a.parquet")
    assert _refusal(tmp_path, tmp_path / "a.parquet") == "2 columns are named 'text'; rename all but one"


def test_the_number_of_labels_is_right_even_if_it_is_very_large(tmp_path: Path) -> None:
    path = _csv(tmp_path, [("a", f"id{row}") for row in range(7000)])
    assert "7000 different labels, expected at most 1000" in _refusal(tmp_path, path)


def test_a_message_about_a_row_is_one_line(tmp_path: Path) -> None:
    path = _csv(tmp_path, [("x", "a\nb\x1b[2J")] * 9)
    assert r"one label only, 'a\nb\x1b[2J'" in _refusal(tmp_path, path)


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_the_progress_of_reading_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr("rnnexp.data.rows._N_ROWS", 4)
    path = next(path for path in _tables(tmp_path, _ROWS) if path.suffix == f".{kind}")
    shares: list[float] = []
    config, home = DataConfig(name="mine", path=str(path)), Home.open(tmp_path / "home")
    prepare(config, home, shares.append)
    assert len(shares) >= 7
    assert shares == sorted(shares)
    assert 0 < shares[0] <= shares[-1] == 1
    shares.clear()
    prepare(config, home, shares.append)
    assert shares == []


_PEAK = """
import sys
from pathlib import Path
import pandas, pyarrow.parquet
from rnnexp.config.trial import DataConfig
from rnnexp.data.store import prepare
from rnnexp.home import Home
def peak():  # `getrusage` counts the memory of the parent, too
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
prepare(DataConfig(name="small", path=sys.argv[1]), Home.open(Path(sys.argv[3])))
before = peak()
prepare(DataConfig(name="mine", path=sys.argv[2]), Home.open(Path(sys.argv[3])))
print(peak() - before)
"""


@pytest.fixture(scope="module")
def many_texts() -> list[str]:
    words = [f"word{number}" for number in range(20_000)]
    numbers = np.random.default_rng(0).zipf(1.3, (30_000, 100)) % 20_000
    return [" ".join([words[number] for number in row]) for row in numbers.tolist()]


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_reading_a_file_keeps_neither_its_texts_nor_its_words(tmp_path: Path, many_texts: list[str], kind: str) -> None:
    """The ids need four bytes a word; all texts, their words and other columns need 18 times as much as the texts."""
    frame = pd.DataFrame(
        {"text": many_texts, "label": [row % 2 for row in range(len(many_texts))], "other": many_texts}
    )
    for name, part in (("small", frame[:100]), ("large", frame)):
        if kind == "csv":
            part.to_csv(tmp_path / f"{name}.csv", index=False)
        elif kind == "jsonl":
            part.to_json(tmp_path / f"{name}.jsonl", orient="records", lines=True)
        else:
            part.to_parquet(tmp_path / f"{name}.parquet", index=False)
    paths = [str(tmp_path / name) for name in (f"small.{kind}", f"large.{kind}", "home")]
    done = subprocess.run(
        [sys.executable, "-c", _PEAK, *paths],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 8 * sum(len(text) for text in many_texts)
