"""Labels the texts of a file and writes the labels into another one, in constant memory."""

import csv
import itertools
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rnnexp import disk
from rnnexp.data.rows import SUFFIXES
from rnnexp.data.text_rows import TextRow
from rnnexp.errors import UserError, shown
from rnnexp.runtime.encoding import TextModel

_N_ROWS = 2_000
"""Number of rows that are read, labelled and written at a time."""
_MAX_CHARACTERS = 20_000_000
"""A group of rows ends early when it has so many characters."""
ROW, LABEL, PROBABILITY = "row", "label", "probability"
"""The columns of a result besides the text and the kept ones."""


@dataclass(frozen=True)
class Scored:
    """What became of the rows of a file.

    Attributes:
        labels: number of rows with each label.
        n_broken: number of rows that could not be read.
    """

    labels: dict[str, int]
    n_broken: int


def check_target(path: Path, source: Path, columns: Sequence[str]) -> None:
    """Raises `UserError` if the result cannot be written there, or two of its columns have one name.

    Args:
        path: of the result.
        source: the file with the texts.
        columns: the text column and the kept ones.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"predict --out: got {shown(str(path))}, expected a file that ends in {', '.join(SUFFIXES)}")
    try:
        if path.is_dir():
            raise UserError(f"predict --out: {path} is a folder")
        if path.exists() and source.exists() and path.samefile(source):
            raise UserError(f"predict --out: {path} is the file with the texts")
    except OSError as error:
        raise UserError(f"predict --out: {path} cannot be written ({error.strerror})") from None
    twice = [name for name, count in Counter([ROW, *columns, LABEL, PROBABILITY]).items() if count > 1]
    if twice:
        raise UserError(
            f"predict: the result would have two columns {shown(twice[0])}; leave it out of --keep, or rename the "
            "column with the texts"
        )


def score(
    model: TextModel,
    rows: Iterable[TextRow],
    to: Path,
    columns: Sequence[str],
    progress: Callable[[float], None],
    report: Callable[[TextRow], None],
) -> Scored:
    """Labels rows and writes the result, which appears when it is complete.

    Args:
        model: labels the texts.
        rows: to label.
        to: the file to write; its suffix determines the format.
        columns: the names of the text column and of the kept ones.
        progress: receives the share of the file that is done, 0 to 1.
        report: receives each row that cannot be read.

    Raises:
        UserError: if the result cannot be written; nothing is left of it.
    """
    counts: Counter[str] = Counter(dict.fromkeys(model.labels, 0))
    n_broken = 0
    with _replacing(to) as beside, _WRITERS[to.suffix.lower()](beside, columns) as writer:
        remaining = iter(rows)
        while chunk := list(_chunk(remaining)):
            readable = [row for row in chunk if row.text is not None]
            for row in chunk:
                if row.text is None:
                    n_broken += 1
                    report(row)
            found = model.predict([row.text or "" for row in readable])
            counts.update(prediction.label for prediction in found)
            writer.write(
                [
                    (row.number, *row.kept, row.text, prediction.label, prediction.probability)
                    for row, prediction in zip(readable, found, strict=True)
                ]
            )
            progress(chunk[-1].share)
    return Scored(dict(counts), n_broken)


def _chunk(rows: Iterator[TextRow]) -> Iterator[TextRow]:
    """Yields the next rows, fewer if they are long."""
    n_characters = 0
    for row in itertools.islice(rows, _N_ROWS):
        yield row
        n_characters += len(row.text or "") + sum(len(value) for value in row.kept if isinstance(value, str))
        if n_characters > _MAX_CHARACTERS:
            return


@contextmanager
def _replacing(to: Path) -> Iterator[Path]:
    try:
        with disk.writing(to) as beside:
            yield beside
    except OSError as error:
        if disk.is_full(error):
            raise
        raise UserError(f"{to}: cannot be written ({error.strerror or error})") from None


class _Writer(Protocol):
    def write(self, rows: list[tuple[Any, ...]]) -> None: ...


def _names(columns: Sequence[str]) -> list[str]:
    text, *kept = columns
    return [ROW, *kept, text, LABEL, PROBABILITY]


class _Separated:
    def __init__(self, file: Any, columns: Sequence[str], separator: str) -> None:
        self._writer = csv.writer(file, delimiter=separator, lineterminator="\n")
        self._writer.writerow(_names(columns))

    def write(self, rows: list[tuple[Any, ...]]) -> None:
        self._writer.writerows([_plain(value) for value in row[:-1]] + [f"{row[-1]:.6f}"] for row in rows)


class _JsonLines:
    def __init__(self, file: Any, columns: Sequence[str]) -> None:
        self._file, self._names = file, _names(columns)

    def write(self, rows: list[tuple[Any, ...]]) -> None:
        for row in rows:
            values = dict(zip(self._names, map(_json_value, row), strict=True))
            self._file.write(json.dumps(values, ensure_ascii=False, allow_nan=False, default=str) + "\n")


class _Parquet:
    def __init__(self, writer: Any, schema: Any) -> None:
        self._writer, self._schema = writer, schema

    def write(self, rows: list[tuple[Any, ...]]) -> None:
        import pyarrow as pa

        columns = list(zip(*rows, strict=True)) or [()] * len(self._schema)
        values = [columns[0], *([_plain(value) for value in column] for column in columns[1:-1]), columns[-1]]
        arrays = [pa.array(column, field.type) for column, field in zip(values, self._schema, strict=True)]
        self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))


def _json_value(value: Any) -> Any:
    """Returns a value as JSON has it, which knows no infinite number and none that is missing."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _json_value(item) for key, item in value.items()}
    return [_json_value(item) for item in value] if isinstance(value, list | tuple) else value


def _plain(value: Any) -> str | int | float | None:
    """Returns a value as a CSV file or a column of strings has it."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, list | dict) else str(value)


@contextmanager
def _text_file(path: Path, columns: Sequence[str], make: Callable[..., _Writer]) -> Iterator[_Writer]:
    with path.open("w", encoding="utf-8", newline="") as file:
        yield make(file, columns)


@contextmanager
def _parquet_file(path: Path, columns: Sequence[str]) -> Iterator[_Writer]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = _names(columns)
    types = [pa.int64(), *[pa.string()] * (len(names) - 2), pa.float64()]
    schema = pa.schema(list(zip(names, types, strict=True)))
    with pq.ParquetWriter(path, schema) as writer:
        yield _Parquet(writer, schema)


_WRITERS: dict[str, Callable[[Path, Sequence[str]], Any]] = {
    ".csv": lambda path, columns: _text_file(path, columns, lambda file, names: _Separated(file, names, ",")),
    ".tsv": lambda path, columns: _text_file(path, columns, lambda file, names: _Separated(file, names, "\t")),
    ".jsonl": lambda path, columns: _text_file(path, columns, _JsonLines),
    ".parquet": _parquet_file,
}
