"""Reads the texts of a CSV, TSV, JSON Lines or Parquet file row by row; reports the rows that cannot be read.

`rnnexp.data.rows` reads files for training, where every row must be sound. Here texts are only labelled.
"""

import csv
import io
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnexp.data.rows import known_suffix
from rnnexp.errors import DataError, did_you_mean, is_unicode, short, shown

_MAX_FIELD = 10_000_000
"""Largest number of characters of a field, and of bytes of a line; a longer one is a row that cannot be read."""
_MAX_DEPTH = 100
_N_ROWS = 1_000
_BATCH_BYTES = 50_000_000
"""About how many bytes of a Parquet file are read at a time; at most `_N_ROWS` rows."""
_CSV_FAULTS = {"unexpected end of data": "a quote is not closed; the text takes the rest of the file"}
_MAX_NAMES = 100


@dataclass(frozen=True)
class TextRow:
    """One row of a file.

    Attributes:
        number: from 1; in JSON Lines, the number of the line.
        text: None if the row cannot be read.
        kept: the values of the further columns.
        fault: why the row cannot be read; None if it can.
        share: the share of the file that has been read, 0 to 1.
    """

    number: int
    text: str | None
    kept: tuple[Any, ...]
    fault: str | None
    share: float


def text_rows(path: Path, column: str, keep: Sequence[str] = ()) -> Iterator[TextRow]:
    """Yields the rows of a file, in constant memory.

    Args:
        path: the file; its suffix determines the format.
        column: the name of the column with the texts.
        keep: the names of further columns to read.

    Raises:
        DataError: if the file cannot be read, or has no such column.
    """
    suffix = known_suffix(path)
    try:
        if suffix == ".parquet":
            yield from _parquet(path, [column, *keep])
        elif suffix == ".jsonl":
            yield from _json_lines(path, [column, *keep])
        else:
            yield from _separated(path, [column, *keep], "\t" if suffix == ".tsv" else ",")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def _places(path: Path, wanted: Sequence[str], found: Sequence[str]) -> list[int]:
    """Returns where the wanted columns are."""
    for name in wanted:
        if name not in found:
            hint = did_you_mean(name, [short(each) for each in found[:_MAX_NAMES]])
            option = "--text" if name == wanted[0] else "--keep"
            raise DataError(f"{path}: no column {shown(name)}{hint}; name yours with {option}")
        if found.count(name) > 1:
            raise DataError(f"{path}: {found.count(name)} columns are named {shown(name)}; rename all but one")
    return [found.index(name) for name in wanted]


def _row(number: int, values: Sequence[Any], share: float) -> TextRow:
    """Returns a row whose first value is its text."""
    values = [_decoded(value) for value in values]
    text = values[0]
    if text is None or (isinstance(text, str) and not text.strip()):
        return _broken(number, "the text is empty", share)
    if isinstance(text, list | dict):
        return _broken(number, f"the text is a {type(text).__name__}, expected a string", share)
    if any(map(_is_deep, values)):
        return _broken(number, f"a value has more than {_MAX_DEPTH} levels", share)
    texts = [_as_text(value) for value in values]
    if any(len(value) > _MAX_FIELD for value in texts):
        return _broken(number, f"longer than {_MAX_FIELD:,} characters", share)
    if not all(map(is_unicode, texts)):
        return _broken(number, "not UTF-8", share)
    return TextRow(number, str(text), tuple(values[1:]), None, share)


def _decoded(value: Any) -> Any:
    """Returns a value; some programs store the strings of a Parquet file as bytes."""
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def _is_deep(value: Any) -> bool:
    """Tells whether lists and objects are nested more deeply than can be written safely."""
    level = [value]
    for _ in range(_MAX_DEPTH + 1):
        nested = [each for each in level if isinstance(each, list | dict)]
        if not nested:
            return False
        level = [item for each in nested for item in (each.values() if isinstance(each, dict) else each)]
    return True


def _as_text(value: Any) -> str:
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return value if isinstance(value, str) else ""


def _broken(number: int, fault: str, share: float) -> TextRow:
    return TextRow(number, None, (), fault, share)


def _separated(path: Path, columns: Sequence[str], separator: str) -> Iterator[TextRow]:
    before = csv.field_size_limit(_MAX_FIELD)
    try:
        with path.open("rb") as content:
            n_bytes = max(1, os.fstat(content.fileno()).st_size)
            # A byte that is not UTF-8 becomes half of a surrogate pair, so only its row cannot be read.
            lines = io.TextIOWrapper(content, encoding="utf-8-sig", errors="surrogateescape", newline="")
            reader = csv.reader(_short_lines(lines), delimiter=separator, strict=True)
            header = next(_parsed(reader), None)
            if not isinstance(header, list):
                raise DataError(f"{path}: {header or 'empty'}; expected a header line and rows")
            places = _places(path, columns, header)
            for number, row in enumerate(_parsed(reader), start=1):
                share = content.tell() / n_bytes
                if isinstance(row, str):
                    yield _broken(number, row, share)
                elif len(row) != len(header):
                    hint = "; quote texts that contain the separator" if len(row) > len(header) else ""
                    yield _broken(number, f"got {len(row)} fields, expected {len(header)}{hint}", share)
                else:
                    yield _row(number, [row[place] for place in places], share)
    finally:
        csv.field_size_limit(before)


def _short_lines(lines: Any) -> Iterator[str]:
    """Yields the lines of a file; instead of one that is too long, a line with a field that is too long."""
    while line := lines.readline(_MAX_FIELD):
        if not line.endswith(("\n", "\r")) and len(line) == _MAX_FIELD:
            while (rest := lines.readline(_MAX_FIELD)) and not rest.endswith(("\n", "\r")):
                pass
            line = "x" * (_MAX_FIELD + 1) + "\n"
        yield line


def _parsed(reader: Any) -> Iterator[list[str] | str]:
    """Yields the rows of a reader, without blank lines; a row that it cannot parse is the reason."""
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield _CSV_FAULTS.get(str(error), short(error))
            continue
        if row:
            yield row


def _json_lines(path: Path, columns: Sequence[str]) -> Iterator[TextRow]:
    is_first = True
    with path.open("rb") as content:
        n_bytes = max(1, os.fstat(content.fileno()).st_size)
        for number, line in enumerate(_lines(content), start=1):
            share = content.tell() / n_bytes
            if line is not None and not line.strip():
                continue
            found = f"longer than {_MAX_FIELD:,} bytes" if line is None else _json_object(line)
            if isinstance(found, str):
                yield _broken(number, found, share)
                continue
            if is_first:
                _places(path, columns, list(found))
                is_first = False
            if columns[0] not in found:
                yield _broken(number, f"no {shown(columns[0])}", share)
            else:
                yield _row(number, [found.get(name) for name in columns], share)


def _lines(content: Any) -> Iterator[bytes | None]:
    """Yields the lines of a file; None for a line that is too long."""
    while line := content.readline(_MAX_FIELD):
        is_whole = line.endswith(b"\n") or len(line) < _MAX_FIELD
        yield line if is_whole else None
        while not is_whole:
            rest = content.readline(_MAX_FIELD)
            is_whole = rest.endswith(b"\n") or len(rest) < _MAX_FIELD


def _json_object(line: bytes) -> dict[str, Any] | str:
    """Returns the object of a line, or why there is none."""
    try:
        found = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return f"not UTF-8 (byte {error.start})"
    except (ValueError, RecursionError) as error:
        return f"not JSON ({short(error)})"
    return found if isinstance(found, dict) else f"got a {type(found).__name__}, expected a JSON object"


def _text_columns(schema: Any, wanted: Sequence[str]) -> list[str]:
    """Returns those of the wanted columns that have texts or bytes."""
    leaves = [schema.column(place) for place in range(len(schema))]
    kinds = ("STRING", "NONE")
    return [
        leaf.path
        for leaf in leaves
        if leaf.path in wanted and leaf.physical_type == "BYTE_ARRAY" and leaf.logical_type.type in kinds
    ]


def _batch_size(metadata: Any) -> int:
    """Returns how many rows to read at a time, by the size of those of the largest group."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    largest = max((group.total_byte_size / max(1, group.num_rows) for group in groups), default=1)
    return int(min(_N_ROWS, max(1, _BATCH_BYTES // max(1, largest))))


def _parquet(path: Path, columns: Sequence[str]) -> Iterator[TextRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            dictionaries = _text_columns(file.schema, columns)
        # A dictionary may have one long text for many rows, which would else be copied for each row.
        with pq.ParquetFile(path, read_dictionary=dictionaries) as file:
            _places(path, columns, file.schema_arrow.names)
            n_rows, number = max(1, file.metadata.num_rows), 0
            for batch in file.iter_batches(
                _batch_size(file.metadata), columns=list(dict.fromkeys(columns)), use_threads=False
            ):
                arrays = [batch.column(batch.schema.get_field_index(name)) for name in columns]
                for values in zip(*arrays, strict=True):
                    number += 1
                    try:
                        row = _row(number, [value.as_py() for value in values], number / n_rows)
                    except (ValueError, OverflowError) as error:
                        row = _broken(number, short(error), number / n_rows)
                    yield row
    except (pa.ArrowException, UnicodeDecodeError) as error:  # the name of a column can be damaged, too
        raise DataError(f"{path}: cannot be read as .parquet ({short(' '.join(str(error).split()), 200)})") from None
