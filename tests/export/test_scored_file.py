"""The file with the labels of another one: in every format, complete or not there."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rnnexp.data.text import Vocabulary
from rnnexp.data.text_rows import TextRow
from rnnexp.errors import UserError
from rnnexp.export import scored_file
from rnnexp.export.scored_file import check_target, score
from rnnexp.runtime.encoding import TextModel
from rnnexp.runtime.manifest import TextInput


def model() -> TextModel:
    """Says yes to a text that contains the word good."""

    def run(tokens: Any) -> Any:
        positive = np.where((tokens == 4).any(axis=1), 0.75, 0.25).astype(np.float32)
        return np.stack([1 - positive, positive], axis=1)

    return TextModel(("no", "yes"), Vocabulary(("good",)), TextInput(10, 20, "bucketed"), run)


ROWS = [
    TextRow(1, 'good, "very"\ngood', ("a",), None, 0.2),
    TextRow(2, None, (), "not UTF-8", 0.4),
    TextRow(3, "bad\ttéxt", (None,), None, 0.6),
    TextRow(4, "=1+1", ({"k": 1},), None, 1.0),
]
COLUMNS = ["body", "id"]


def write(to: Path, rows: list[TextRow] = ROWS, columns: list[str] = COLUMNS) -> tuple[Any, list[int], list[float]]:
    shares: list[float] = []
    broken: list[int] = []
    found = score(model(), rows, to, columns, shares.append, lambda row: broken.append(row.number))
    return found, broken, shares


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_every_format_has_the_same_result(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scored_file, "_N_ROWS", 2)
    to = tmp_path / f"out{suffix}"
    found, broken, shares = write(to)
    assert (found.labels, found.n_broken, broken, shares) == ({"no": 2, "yes": 1}, 1, [2], [0.4, 1.0])
    if suffix == ".parquet":
        rows = pd.read_parquet(to).astype(object).where(lambda frame: frame.notna(), None).to_dict("records")
    elif suffix == ".jsonl":
        rows = [json.loads(line) for line in to.read_text(encoding="utf-8").splitlines()]
    else:
        with to.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t" if suffix == ".tsv" else ","))
    assert [list(row) for row in rows] == [["row", "id", "body", "label", "probability"]] * 3
    assert [int(row["row"]) for row in rows] == [1, 3, 4]
    assert [row["body"] for row in rows] == ['good, "very"\ngood', "bad\ttéxt", "=1+1"]
    assert [row["label"] for row in rows] == ["yes", "no", "no"]
    assert [float(row["probability"]) for row in rows] == [0.75, 0.75, 0.75]
    kept = [row["id"] for row in rows]
    assert kept[:2] in (["a", None], ["a", ""])
    assert kept[2] in ({"k": 1}, '{"k": 1}')


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_a_failure_leaves_the_old_file_and_nothing_new(tmp_path: Path, suffix: str) -> None:
    to = tmp_path / f"out{suffix}"
    to.write_text("old")

    def rows() -> Any:
        yield ROWS[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(to, rows())
    assert to.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == [to.name]


def test_numbers_that_json_does_not_have_become_null(tmp_path: Path) -> None:
    to = tmp_path / "out.jsonl"
    kept: list[Any] = [float("nan"), {"a": [float("inf"), 1.5]}]
    write(to, [TextRow(number, "good", (value,), None, 0.5) for number, value in enumerate(kept)])
    rows = [json.loads(line, parse_constant=pytest.fail) for line in to.read_text().splitlines()]
    assert [row["id"] for row in rows] == [None, {"a": [None, 1.5]}]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_rows_that_are_all_broken_give_a_file_without_rows(tmp_path: Path, suffix: str) -> None:
    to = tmp_path / f"out{suffix}"
    found, broken, _ = write(to, [ROWS[1]])
    assert (found.labels, broken) == ({"no": 0, "yes": 0}, [2])
    frame = pd.read_csv(to) if suffix == ".csv" else pd.read_parquet(to)
    assert list(frame.columns) == ["row", "id", "body", "label", "probability"]
    assert len(frame) == 0


def test_a_file_with_a_name_like_the_temporary_one_stays(tmp_path: Path) -> None:
    (tmp_path / "writing-out.csv").write_text("mine")
    write(tmp_path / "out.csv")
    assert (tmp_path / "writing-out.csv").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "writing-out.csv"]


def test_long_rows_are_labelled_in_smaller_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scored_file, "_MAX_CHARACTERS", 100)
    rows = [
        TextRow(number, "good" * length, ("",), None, number / 6) for number, length in enumerate([20, 20, 1, 90, 1])
    ]
    found, _, shares = write(tmp_path / "out.csv", rows)
    assert sum(found.labels.values()) == 5
    assert shares == [1 / 6, 3 / 6, 4 / 6], "of the last row of each group"


def test_wrong_places_and_names_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("body\nx\n")
    (tmp_path / "folder.csv").mkdir()
    for to, columns, words in (
        (tmp_path / "out.xlsx", ["body"], "expected a file that ends in .csv, .tsv, .jsonl, .parquet"),
        (source, ["body"], "is the file with the texts"),
        (tmp_path / "folder.csv", ["body"], "is a folder"),
        (tmp_path / f"{'x' * 300}.csv", ["body"], "cannot be written (File name too long)"),
        (tmp_path / "out.csv", ["label"], "would have two columns 'label'"),
        (tmp_path / "out.csv", ["body", "id", "id"], "would have two columns 'id'"),
    ):
        with pytest.raises(UserError, match=re.escape(words)):
            check_target(to, source, columns)
    check_target(tmp_path / "in.csv", tmp_path / "missing.csv", ["body"])  # the missing file is told when it is read
    with pytest.raises(UserError, match=r"file/out\.csv: cannot be written \("):
        (tmp_path / "file").write_text("")
        write(tmp_path / "file" / "out.csv")
