"""Reads the user's own texts from a CSV, TSV, JSON Lines or Parquet file: one text and its label in each row."""

import json
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rnnexp import disk
from rnnexp.config.trial import DataConfig
from rnnexp.data.source import Encoded, encode_texts
from rnnexp.errors import DataError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

_SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
_MAX_LABELS = 1000


@dataclass(frozen=True)
class TextFile:
    """A data set in a file; it implements the protocol `DataSet`."""

    path: Path

    def description(self) -> str:
        return f"your own file {self.path}"

    def local_path(self) -> str | None:
        return str(self.path) if self.path.is_file() else None

    def identity(self, config: DataConfig) -> str:
        part = (config.split, config.validation_split, config.train_samples, config.seed)
        return f"{self._digest()} {config.text} {config.label} {part}{_group(config)}"

    def identity_of_test_part(self, config: DataConfig) -> str:
        part = (config.split, config.validation_split, config.seed)  # train_samples only draws from the other rows
        return f"{self._digest()} {config.text} {config.label} {part}{_group(config)}"

    def _digest(self) -> str:
        try:
            return disk.file_hash(self.path)
        except FileNotFoundError:
            raise DataError(
                f"{self.path}: no such file; data.path names a .csv, .tsv, .jsonl or .parquet file"
            ) from None
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error.strerror})") from None

    def read(self, config: DataConfig) -> Encoded:
        frame = _frame(self.path)
        columns = (config.text, config.label, *([] if config.group is None else [config.group]))
        for column in columns:
            if column not in frame.columns:
                known = [str(name) for name in frame.columns]
                raise DataError(
                    f"{self.path}: no column {column!r}{did_you_mean(column, known)}; "
                    f"name yours in data.text and data.label{'' if config.group is None else ', and in data.group'}"
                )
        if frame.empty:
            raise DataError(f"{self.path}: no rows; expected texts and their labels")
        for column in columns:
            self._check_not_empty(frame[column], column)
        names, labels = self._labels([_label_name(value) for value in frame[config.label]])
        groups = None if config.group is None else _numbers([_label_name(value) for value in frame[config.group]])
        return encode_texts([str(text) for text in frame[config.text]], labels, names, config, groups)

    def _labels(self, values: list[str]) -> tuple[tuple[str, ...], NDArray[np.int32]]:
        """Returns the sorted names of the classes, and the class id of each row."""
        names = sorted(set(values), key=_by_number_then_name)
        if len(names) < 2:
            raise DataError(f"{self.path}: one label only, {names[0]!r}; expected two or more classes")
        if len(names) > _MAX_LABELS:
            raise DataError(
                f"{self.path}: {len(names)} different labels, expected at most {_MAX_LABELS}; check data.label"
            )
        ids = {name: index for index, name in enumerate(names)}
        return tuple(names), np.array([ids[value] for value in values], dtype=np.int32)

    def _check_not_empty(self, column: "pd.Series[Any]", name: str) -> None:
        empty = column.isna() | (column.astype(str).str.strip() == "")
        if empty.any():
            first = ", ".join(str(row + 1) for row in np.flatnonzero(empty.to_numpy())[:3])
            raise DataError(
                f"{self.path}: column {name!r} is empty in {int(empty.sum())} of {len(column)} rows "
                f"(row {first}{', …' if empty.sum() > 3 else ''}); fill them in or remove the rows"
            )


def _group(config: DataConfig) -> str:
    return "" if config.group is None else f" group {config.group}"


def _numbers(values: list[str]) -> NDArray[np.int32]:
    """Returns a number for each value; equal values have the same."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], dtype=np.int32)


def _by_number_then_name(name: str) -> tuple[bool, int, str]:
    number = re.fullmatch(r"-?[0-9]{1,18}", name)
    return (number is None, int(name) if number else 0, name)


def _label_name(value: Any) -> str:
    """Returns a label as the user wrote it: 1.0 becomes 1, because pandas reads a column with gaps as floats."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


def _frame(path: Path) -> "pd.DataFrame":
    import pandas as pd

    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        received = f"suffix {suffix}" if suffix else "no suffix"
        raise DataError(f"{path}: got a file with {received}, expected one of {', '.join(_SUFFIXES)}")
    try:
        if suffix == ".parquet":
            return pd.read_parquet(path)
        if suffix == ".jsonl":
            return _json_lines(path)
        separator = "\t" if suffix == ".tsv" else ","
        # "NA", "null" and "None" can be words of a text or labels; only an empty field is a missing value.
        with warnings.catch_warnings():
            # If a row has more fields than the header (an unquoted comma), pandas warns and drops the rest.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(
                path, sep=separator, dtype=str, keep_default_na=False, na_values=[""], encoding="utf-8", index_col=False
            )
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except pd.errors.EmptyDataError:
        raise DataError(f"{path}: empty; expected a header line and rows") from None
    except pd.errors.ParserWarning:
        raise DataError(f"{path}: rows have more fields than the header; quote the texts that contain commas") from None
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: cannot be read as {suffix} ({' '.join(str(error).split())[:200]})") from None


def _json_lines(path: Path) -> "pd.DataFrame":
    import pandas as pd

    rows = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}: line {number} is not JSON ({error})") from None
            if not isinstance(row, dict):
                raise DataError(
                    f"{path}: line {number} is a {type(row).__name__}, expected an object with text and label"
                )
            if re.search("[\ud800-\udfff]", "".join(value for value in row.values() if isinstance(value, str))):
                raise DataError(f"{path}: line {number} contains half of a surrogate pair (\\ud800 to \\udfff)")
            rows.append(row)
    if not rows:
        raise DataError(f"{path}: no rows; expected one JSON object on each line")
    return pd.DataFrame(rows, dtype=object)
