"""The user's own texts: CSV, TSV, JSON lines or Parquet, one row a text, its label in a column."""

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

_KINDS = (".csv", ".tsv", ".jsonl", ".parquet")
_MOST_LABELS = 1000


@dataclass(frozen=True)
class TextFile:
    """A file as a data set; offers what a module of `rnnexp/data/sets/` does."""

    path: Path

    def about(self) -> str:
        return f"your own file {self.path}"

    def local_path(self) -> str | None:
        return str(self.path) if self.path.is_file() else None

    def identity(self, config: DataConfig) -> str:
        try:
            digest = disk.file_hash(self.path)
        except FileNotFoundError:
            raise DataError(
                f"{self.path}: no such file; data.path names a .csv, .tsv, .jsonl or .parquet file"
            ) from None
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error.strerror})") from None
        part = (config.split, config.validation_split, config.train_samples, config.seed)
        return f"{digest} {config.text} {config.label} {part}"

    def read(self, config: DataConfig) -> Encoded:
        frame = _frame(self.path)
        for column in (config.text, config.label):
            if column not in frame.columns:
                known = [str(name) for name in frame.columns]
                raise DataError(
                    f"{self.path}: no column {column!r}{did_you_mean(column, known)}; "
                    "name yours in data.text and data.label"
                )
        if frame.empty:
            raise DataError(f"{self.path}: no rows; expected texts and their labels")
        self._nothing_missing(frame[config.text], config.text)
        self._nothing_missing(frame[config.label], config.label)
        names, labels = self._labels([_name(value) for value in frame[config.label]])
        return encode_texts([str(text) for text in frame[config.text]], labels, names, config)

    def _labels(self, values: list[str]) -> tuple[tuple[str, ...], NDArray[np.int32]]:
        """Returns the classes' names, sorted, and each row's class id."""
        names = sorted(set(values), key=_by_number_then_name)
        if len(names) < 2:
            raise DataError(f"{self.path}: one label only, {names[0]!r}; expected two or more classes")
        if len(names) > _MOST_LABELS:
            raise DataError(
                f"{self.path}: {len(names)} different labels; expected at most {_MOST_LABELS}. Is it the right column?"
            )
        ids = {name: index for index, name in enumerate(names)}
        return tuple(names), np.array([ids[value] for value in values], dtype=np.int32)

    def _nothing_missing(self, column: "pd.Series[Any]", name: str) -> None:
        empty = column.isna() | (column.astype(str).str.strip() == "")
        if empty.any():
            first = ", ".join(str(row + 1) for row in np.flatnonzero(empty.to_numpy())[:3])
            raise DataError(
                f"{self.path}: column {name!r} is empty in {int(empty.sum())} of {len(column)} rows "
                f"(row {first}{', …' if empty.sum() > 3 else ''}); fill them in or leave the rows out"
            )


def _by_number_then_name(name: str) -> tuple[bool, int, str]:
    number = re.fullmatch(r"-?[0-9]{1,18}", name)
    return (number is None, int(name) if number else 0, name)


def _name(value: Any) -> str:
    """A label as the user writes it: 1.0 is 1, for pandas reads whole numbers beside a gap as floats."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


def _frame(path: Path) -> "pd.DataFrame":
    import pandas as pd

    kind = path.suffix.lower()
    if kind not in _KINDS:
        raise DataError(f"{path}: got a {kind or 'nameless'} file, expected one of {', '.join(_KINDS)}")
    try:
        if kind == ".parquet":
            return pd.read_parquet(path)
        if kind == ".jsonl":
            return _json_lines(path)
        separator = "\t" if kind == ".tsv" else ","
        # "NA", "null" and "None" are words of a review and possible labels; only an empty field is missing.
        with warnings.catch_warnings():
            # A row with more fields than the header: an unquoted comma in a text, which pandas would cut off.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return pd.read_csv(
                path, sep=separator, dtype=str, keep_default_na=False, na_values=[""], encoding="utf-8", index_col=False
            )
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except pd.errors.EmptyDataError:
        raise DataError(f"{path}: empty; expected a header line and rows") from None
    except pd.errors.ParserWarning:
        raise DataError(f"{path}: rows have more fields than the header; put texts with commas in quotes") from None
    except (ValueError, OSError) as error:
        raise DataError(f"{path}: cannot be read as {kind} ({' '.join(str(error).split())[:200]})") from None


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
                raise DataError(f"{path}: line {number} holds half a character (an escape \\ud800 to \\udfff alone)")
            rows.append(row)
    if not rows:
        raise DataError(f"{path}: no rows; expected one JSON object a line")
    return pd.DataFrame(rows, dtype=object)
