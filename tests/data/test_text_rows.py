"""Texts of a file that are only labelled: what is broken costs its own row, and is told by number."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rnnexp.data import text_rows as module
from rnnexp.data.text_rows import TextRow, text_rows
from rnnexp.errors import DataError


def read(path: Path, column: str = "body", *keep: str) -> tuple[dict[int, str], dict[int, str]]:
    """The texts of a file and its faults, by number."""
    rows = list(text_rows(path, column, keep))
    shares = [row.share for row in rows]
    assert shares == sorted(shares)
    assert all(0 <= share <= 1 for share in shares)
    texts = {row.number: row.text for row in rows if row.text is not None}
    return texts, {row.number: row.fault for row in rows if row.fault is not None}


def file(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refusal(path: Path, column: str = "body", *keep: str) -> str:
    with pytest.raises(DataError) as caught:
        list(text_rows(path, column, keep))
    message = str(caught.value)
    assert message.isprintable()
    return message


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_all_formats_give_the_same_rows(tmp_path: Path, suffix: str) -> None:
    frame = pd.DataFrame({"id": ["a", "b"], "body": ['one, "two"\tthree\nfour', "naïve NA null"], "other": [1, 2]})
    path = tmp_path / f"texts{suffix}"
    if suffix == ".parquet":
        frame.to_parquet(path)
    elif suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_csv(path, index=False, sep="\t" if suffix == ".tsv" else ",")
    rows = list(text_rows(path, "body", ["id"]))
    assert [(row.number, row.text, row.kept, row.fault) for row in rows] == [
        (1, 'one, "two"\tthree\nfour', ("a",), None),
        (2, "naïve NA null", ("b",), None),
    ]
    assert rows[-1].share == 1


def test_broken_rows_of_a_csv_file(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbfid,body\r\n1,good\r\n2,caf\xe9\r\n\r\n3,a,b\r\n4\r\n5,\r\n6,"  "\r\n7,"last\r\nline"\r\n'
    assert read(file(tmp_path, "a.csv", content)) == (
        {1: "good", 7: "last\r\nline"},
        {
            2: "not UTF-8",
            3: "got 3 fields, expected 2; quote texts that contain the separator",
            4: "got 1 fields, expected 2",
            5: "the text is empty",
            6: "the text is empty",
        },
    )


def test_a_field_without_end_costs_its_own_row_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_FIELD", 50)
    before = csv.field_size_limit()
    texts, faults = read(file(tmp_path, "a.csv", f"body\n{'x' * 90}\ngood\n"))
    assert texts == {2: "good"}
    assert faults == {1: "field larger than field limit (50)"}
    assert csv.field_size_limit() == before


def test_a_quote_that_is_not_closed_is_told(tmp_path: Path) -> None:
    texts, faults = read(file(tmp_path, "a.csv", 'id,body\n1,good\n2,"never closed\n3,bad\n4,fine\n'))
    assert texts == {1: "good"}
    assert faults == {2: "a quote is not closed; the text takes the rest of the file"}


def test_bytes_and_values_without_a_text_form_in_a_parquet_file(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    times = pa.array([0, 10**12], pa.timestamp("s"))
    pq.write_table(pa.table({"body": pa.array([b"good", b"fine"], pa.binary()), "at": times}), tmp_path / "a.parquet")
    texts, faults = read(tmp_path / "a.parquet", "body", "at")
    assert (texts, faults.keys()) == ({1: "good"}, {2})
    pq.write_table(pa.table({"body": pa.array([b"good", b"caf\xe9"], pa.binary())}), tmp_path / "b.parquet")
    assert read(tmp_path / "b.parquet") == ({1: "good"}, {2: "not UTF-8"})


def test_half_of_a_surrogate_pair_inside_a_kept_value_is_told(tmp_path: Path) -> None:
    path = file(tmp_path, "a.jsonl", '{"body": "good", "tags": ["\\ud800"]}\n{"body": "fine", "tags": ["x"]}\n')
    assert read(path, "body", "tags") == ({2: "fine"}, {1: "not UTF-8"})


def test_broken_rows_of_a_json_lines_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_FIELD", 500)
    lines = [
        b'{"body": "good"}',
        b'{"body": "caf\xe9"}',
        b"",
        b"{",
        b"[1]",
        b'{"text": "x"}',
        b'{"body": null}',
        b'{"body": ["x"]}',
        b'{"body": "\\ud800"}',
        b'{"body": "' + b"x" * 2000 + b'"}',
        b"[" * 400,
        b'{"body": 7}',
    ]
    texts, faults = read(file(tmp_path, "a.jsonl", b"\n".join(lines)))
    assert texts == {1: "good", 12: "7"}
    assert faults.keys() == {2, 4, 5, 6, 7, 8, 9, 10, 11}
    assert faults[2] == "not UTF-8 (byte 13)"
    assert faults[4].startswith("not JSON (")
    assert faults[5] == "got a list, expected a JSON object"
    assert faults[6] == "no 'body'"
    assert faults[7] == "the text is empty"
    assert faults[8] == "the text is a list, expected a string"
    assert faults[9] == "not UTF-8"
    assert faults[10] == "longer than 500 bytes"


def test_broken_rows_of_a_parquet_file(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    damaged = pa.array([b"good", b"caf\xe9", b"", b"fine"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"body": damaged, "n": [1, None, 3, 4]}), tmp_path / "a.parquet")
    texts, faults = read(tmp_path / "a.parquet", "body", "n")
    assert texts == {1: "good", 4: "fine"}
    assert faults.keys() == {2, 3}
    assert "utf-8" in faults[2]
    assert faults[3] == "the text is empty"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "id,bdy\n1,x\n", "no column 'body'; did you mean bdy?; name yours with --text"),
        ("a.csv", "body,body\nx,y\n", "2 columns are named 'body'; rename all but one"),
        ("a.csv", "", "empty; expected a header line and rows"),
        ("a.jsonl", json.dumps({"text": "x"}), "no column 'body'; expected one of text; name yours with --text"),
        ("a.parquet", "no parquet", "cannot be read as .parquet ("),
        ("a.xlsx", "x", "got a file with suffix .xlsx, expected one of .csv, .tsv, .jsonl, .parquet"),
        ("a", "x", "got a file with no suffix"),
    ],
)
def test_what_is_wrong_with_the_whole_file(tmp_path: Path, name: str, content: str, words: str) -> None:
    path = file(tmp_path, name, content)
    assert words in refusal(path)
    assert refusal(path).startswith(f"{path}: ")


def test_a_missing_file_and_a_missing_column_to_keep(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.csv").endswith("none.csv: no such file")
    (tmp_path / "folder.csv").mkdir()
    assert "cannot be read (Is a directory)" in refusal(tmp_path / "folder.csv")
    path = file(tmp_path, "a.csv", "body\nx\n")
    assert "no column 'id'; expected one of body; name yours with --keep" in refusal(path, "body", "id")


def test_a_row_is_read_when_it_is_asked_for(tmp_path: Path) -> None:
    """The first rows of a large file are there before its end is read."""
    path = file(tmp_path, "a.csv", "body\n" + "some words\n" * 200_000)
    first: TextRow = next(text_rows(path, "body"))
    assert first.number == 1
    assert first.share < 0.1


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_values_that_are_nested_too_deeply_or_too_long_are_broken_rows(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_FIELD", 5_000)
    monkeypatch.setattr(module, "_MAX_DEPTH", 3)
    path = tmp_path / f"rows{suffix}"
    values: list[Any] = [[[["sound"]]], [[[["deep"]]]]]
    for place, value in enumerate(values):
        rows = [{"body": "one", "keep": value}, {"body": "x" * 5_001, "keep": value}]
        if suffix == ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            pq.write_table(pa.Table.from_pylist(rows), path)
        first, second = text_rows(path, "body", ["keep"])
        assert (first.fault, first.text) == [(None, "one"), ("a value has more than 3 levels", None)][place]
        assert second.fault is not None
    assert first.kept == ()


def test_a_value_that_json_can_read_but_not_write_is_a_broken_row(tmp_path: Path) -> None:
    path = file(tmp_path, "deep.jsonl", '{"body": "one", "keep": ' + "[" * 600 + "]" * 600 + '}\n{"body": "two"}\n')
    assert read(path, "body", "keep") == ({2: "two"}, {1: "a value has more than 100 levels"})


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory in /proc")
def test_a_small_parquet_file_with_long_texts_takes_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.parquet"
    pq.write_table(pa.table({"text": ["x" * 1_000_000] * 300, "n": list(range(300))}), path)
    assert path.stat().st_size < 100_000
    program = f"""
import re
from pathlib import Path
import pyarrow.parquet
from rnnexp.data.text_rows import text_rows
def peak_kb():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
before = peak_kb()
assert sum(len(row.text) for row in text_rows(Path({str(path)!r}), "text", ["n"])) == 300_000_000
print((peak_kb() - before) // 1024)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 150, "MB"
