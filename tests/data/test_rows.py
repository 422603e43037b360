"""Files of texts that are read in parts: the same store, the same errors, and little memory."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rnnexp.config.trial import DataConfig
from rnnexp.data.store import prepare
from rnnexp.home import Home
from tests.data.text_files import ROWS, refusal, store_of, text_file, write_csv, write_json_lines


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
    whole = [store_of(tmp_path / "whole", path) for path in paths]
    monkeypatch.setattr("rnnexp.data.rows._N_ROWS", n_rows)
    for path, expected in zip(paths, whole, strict=True):
        store = store_of(tmp_path / "parts", path)
        assert store.digest == expected.digest
        for name in ("tokens.npy", "offsets.npy", "labels.npy", "vocabulary.txt", "meta.json"):
            assert (store.root / name).read_bytes() == (expected.root / name).read_bytes(), (path, name)


def test_the_store_of_a_file_is_the_same_as_in_earlier_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home keeps the stores that it has, and trials on them can be compared with new ones."""
    lines = [f'"Row {row * row % 11}, the ""{row % 4}"" and {row}!",{"yes" if row % 3 else "no"}' for row in range(50)]
    text_file(tmp_path, "a.csv", "text,label\n" + "\n".join(lines) + "\n")
    monkeypatch.chdir(tmp_path)
    store = store_of(tmp_path, Path("a.csv"))
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
    assert refusal(tmp_path, write_csv(tmp_path, rows)) == (
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
    path = text_file(tmp_path, "a.csv", "text,label\n" + "\n".join(lines) + "\n")
    assert re.search("more fields than the header|Expected 2 fields", refusal(tmp_path, path))


def test_a_key_that_only_later_rows_have_is_a_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rnnexp.data.rows._N_ROWS", 2)
    path = write_json_lines(tmp_path, [{"text": "a"}] * 5 + [{"text": "b", "label": 1}])
    assert refusal(tmp_path, path).startswith("column 'label' is empty in 5 of 6 rows (row 1, 2, 3, …)")
    path = write_json_lines(tmp_path, [{"text": "a", "lable": 1}] * 5)
    assert refusal(tmp_path, path).startswith("no column 'label'; did you mean lable?")


def test_a_json_line_that_is_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    path = text_file(tmp_path, "a.jsonl", '{"text": "a", "label": ' + "[" * 100_000 + "]" * 100_000 + "}\n")
    assert refusal(tmp_path, path) == "line 1 is nested too deeply"


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table([["a"] * 9, ["b"] * 9, [1, 2, 3] * 3], names=["text", "text", "label"])
    pq.write_table(table, tmp_path / "a.parquet")
    assert refusal(tmp_path, tmp_path / "a.parquet") == "2 columns are named 'text'; rename all but one"


def test_the_number_of_labels_is_right_even_if_it_is_very_large(tmp_path: Path) -> None:
    path = write_csv(tmp_path, [("a", f"id{row}") for row in range(7000)])
    assert "7000 different labels, expected at most 1000" in refusal(tmp_path, path)


def test_a_message_about_a_row_is_one_line(tmp_path: Path) -> None:
    path = write_csv(tmp_path, [("x", "a\nb\x1b[2J")] * 9)
    assert r"one label only, 'a\nb\x1b[2J'" in refusal(tmp_path, path)


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
def test_the_progress_of_reading_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr("rnnexp.data.rows._N_ROWS", 4)
    path = next(path for path in _tables(tmp_path, ROWS) if path.suffix == f".{kind}")
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


@pytest.mark.integration
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
