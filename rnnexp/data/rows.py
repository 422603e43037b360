"""Reads some columns of a CSV, TSV, JSON Lines or Parquet file in parts, so that the file need not fit into memory."""

import io
import json
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnexp.errors import DataError, did_you_mean, is_unicode, short, shown

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")

_N_ROWS = 2_000
"""Number of rows of a part."""

_MAX_KEYS = 100
"""Number of keys of JSON objects that are remembered for the error message of a missing column."""


@dataclass(frozen=True)
class Part:
    """Some rows of a file.

    Attributes:
        values: the values of each column, of any type.
        share: the share of the file that has been read, 0 to 1.
    """

    values: tuple[list[Any], ...]
    share: float


def known_suffix(path: Path) -> str:
    """Returns the suffix of a file of texts, in lower case; raises `DataError` if it is of no known format."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        received = f"suffix {suffix}" if suffix else "no suffix"
        raise DataError(f"{path}: got a file with {received}, expected one of {', '.join(SUFFIXES)}")
    return suffix


def parts(path: Path, columns: Sequence[str]) -> Iterator[Part]:
    """Yields the rows of a file.

    Args:
        path: the file; its suffix determines the format.
        columns: the names of the columns to read.

    Raises:
        DataError: if the file cannot be read, or has no such column.
    """
    suffix = known_suffix(path)
    import pandas as pd
    import pyarrow as pa

    try:
        if suffix == ".parquet":
            yield from _parquet(path, columns)
        elif suffix == ".jsonl":
            yield from _json_lines(path, columns)
        else:
            yield from _separated(path, columns, "\t" if suffix == ".tsv" else ",")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except pd.errors.EmptyDataError:
        raise DataError(f"{path}: empty; expected a header line and rows") from None
    except pd.errors.ParserWarning:
        raise DataError(f"{path}: rows have more fields than the header; quote the texts that contain commas") from None
    except MemoryError:
        raise DataError(f"{path}: cannot be read as {suffix} (it needs more memory than is free)") from None
    except (ValueError, OSError, RecursionError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as {suffix} ({' '.join(str(error).split())[:200]})") from None


def _check_columns(path: Path, wanted: Sequence[str], found: Iterable[Any]) -> None:
    known = [str(name) for name in found]
    for column in wanted:
        if column not in known:
            hint = did_you_mean(column, [short(name) for name in known[:_MAX_KEYS]])
            settings = "data.text and data.label" + (", and in data.group" if len(wanted) > 2 else "")
            raise DataError(f"{path}: no column {shown(column)}{hint}; name yours in {settings}")
        if known.count(column) > 1:
            raise DataError(f"{path}: {known.count(column)} columns are named {shown(column)}; rename all but one")


def _values(frame: "pd.DataFrame", columns: Sequence[str]) -> tuple[list[Any], ...]:
    return tuple(frame[column].tolist() for column in columns)


def _separated(path: Path, columns: Sequence[str], separator: str) -> Iterator[Part]:
    """Reads a CSV or TSV file.

    All columns are parsed, because pandas reports a row with too many fields only then; the named ones are kept.
    """
    import pandas as pd

    with path.open("rb") as file:
        n_bytes = max(1, os.fstat(file.fileno()).st_size)
        reader = pd.read_csv(
            file,
            sep=separator,
            dtype=str,
            # "NA", "null" and "None" can be words of a text or labels; only an empty field is a missing value.
            keep_default_na=False,
            na_values=[""],
            encoding="utf-8",
            index_col=False,
            chunksize=_N_ROWS,
        )
        while True:
            with warnings.catch_warnings():
                # If a row has more fields than the header (an unquoted comma), pandas warns and drops the rest.
                warnings.simplefilter("error", pd.errors.ParserWarning)
                frame = next(reader, None)
            if frame is None:
                return
            _check_columns(path, columns, frame.columns)
            yield Part(_values(frame, columns), file.tell() / n_bytes)


def _parquet(path: Path, columns: Sequence[str]) -> Iterator[Part]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        _check_columns(path, columns, file.schema_arrow.empty_table().to_pandas().columns)
        n_read, n_rows = 0, max(1, file.metadata.num_rows)
        for batch in file.iter_batches(_N_ROWS, columns=sorted(set(columns)), use_threads=False):
            frame = batch.to_pandas()
            n_read += len(frame)
            yield Part(_values(frame, columns), n_read / n_rows)


def _json_lines(path: Path, columns: Sequence[str]) -> Iterator[Part]:
    rows: list[tuple[Any, ...]] = []
    keys: dict[str, None] = {}
    n_rows = 0
    with path.open("rb") as content, io.TextIOWrapper(content, encoding="utf-8") as file:
        n_bytes = max(1, os.fstat(content.fileno()).st_size)
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            row = _json_object(line, path, number)
            if len(keys) < _MAX_KEYS:
                keys.update(dict.fromkeys(row))
            keys.update(dict.fromkeys(row.keys() & set(columns)))
            rows.append(tuple(row.get(column) for column in columns))
            n_rows += 1
            if len(rows) == _N_ROWS:
                yield Part(_transposed(rows, columns), content.tell() / n_bytes)
                rows = []
    if not n_rows:
        raise DataError(f"{path}: no rows; expected one JSON object on each line")
    _check_columns(path, columns, keys)
    if rows:
        yield Part(_transposed(rows, columns), 1.0)


def _transposed(rows: list[tuple[Any, ...]], columns: Sequence[str]) -> tuple[list[Any], ...]:
    return tuple([row[index] for row in rows] for index in range(len(columns)))


def _json_object(line: str, path: Path, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"{path}: line {number} is not JSON ({error})") from None
    except RecursionError:
        raise DataError(f"{path}: line {number} is nested too deeply") from None
    if not isinstance(row, dict):
        raise DataError(f"{path}: line {number} is a {type(row).__name__}, expected an object with text and label")
    if not all(is_unicode(value) for value in row.values() if isinstance(value, str)):
        raise DataError(f"{path}: line {number} contains half of a surrogate pair (\\ud800 to \\udfff)")
    return row
