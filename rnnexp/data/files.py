"""Reads the user's own texts from a CSV, TSV, JSON Lines or Parquet file: one text and its label in each row."""

import re
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnexp import disk
from rnnexp.config.trial import DataConfig
from rnnexp.data import rows
from rnnexp.data.source import Encoded, split_texts
from rnnexp.data.tokenized import Tokenized
from rnnexp.errors import DataError, shown

Progress = Callable[[float], None]
"""Receives the share of a file that has been read, 0 to 1."""

_MAX_LABELS = 1000
_MAX_TOKENS = 1_000_000_000
"""Largest number of words of a file; they need 8 GB while the store is built."""


@dataclass(frozen=True)
class TextFile:
    """A data set in a file; it implements the protocol `DataSet`."""

    path: Path
    progress: Progress | None = None

    def description(self) -> str:
        return f"your own file {self.path}"

    def licence(self) -> str:
        return "The texts are the user's own; the program does not know their licence: state it if you share the model."

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
        except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
            reason = error.strerror if isinstance(error, OSError) else error
            raise DataError(f"{self.path}: cannot be read ({reason})") from None

    def read(self, config: DataConfig) -> Encoded:
        columns = [config.text, config.label, *([] if config.group is None else [config.group])]
        texts, labels, groups = Tokenized(), _Labels(self.path), _Groups()
        empty = [_Empty(self.path, column) for column in columns]
        for part in rows.parts(self.path, columns):
            for values in zip(*part.values, strict=True):
                # A row with an empty field is counted, too: the error has the number of such rows.
                is_empty = [found.check(value) for found, value in zip(empty, values, strict=True)]
                if not any(is_empty):
                    texts.add(str(values[0]))
                    labels.add(_label_name(values[1]))
                    for group in values[2:]:
                        groups.add(_label_name(group))
            if texts.n_tokens > _MAX_TOKENS:
                raise DataError(f"{self.path}: more than {_MAX_TOKENS:,} words; use a smaller file")
            if self.progress is not None:
                self.progress(part.share)
        if not empty[0].n_rows:
            raise DataError(f"{self.path}: no rows; expected texts and their labels")
        for found in empty:
            found.raise_if_any()
        names, ids = labels.classes()
        return split_texts(texts, ids, names, config, None if config.group is None else groups.ids())


@dataclass
class _Empty:
    """Counts the empty fields of one column."""

    path: Path
    column: str
    n_rows: int = 0
    n_empty: int = 0
    first: list[int] = field(default_factory=list)

    def check(self, value: Any) -> bool:
        """Counts a value of the next row; tells whether it is empty."""
        self.n_rows += 1
        if isinstance(value, str):
            if value and not value.isspace():
                return False
        elif not _is_missing(value) and str(value).strip():
            return False
        self.n_empty += 1
        if len(self.first) < 3:
            self.first.append(self.n_rows)
        return True

    def raise_if_any(self) -> None:
        if self.n_empty:
            first = ", ".join(str(row) for row in self.first)
            raise DataError(
                f"{self.path}: column {shown(self.column)} is empty in {self.n_empty} of {self.n_rows} rows "
                f"(row {first}{', …' if self.n_empty > 3 else ''}); fill them in or remove the rows"
            )


class _Labels:
    """The labels of a file: a number for each row, and the names of the numbers."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._numbers: dict[str, int] = {}
        self._rows = array("i")
        self._others: set[int] = set()

    def add(self, name: str) -> None:
        number = self._numbers.get(name)
        if number is None:
            if len(self._numbers) == _MAX_LABELS:
                self._others.add(hash(name))  # the names are only counted: this may be the column with the texts
                return
            number = self._numbers[name] = len(self._numbers)
        self._rows.append(number)

    def classes(self) -> tuple[tuple[str, ...], NDArray[np.int32]]:
        """Returns the sorted names of the classes, and the class id of each row."""
        names = sorted(self._numbers, key=_by_number_then_name)
        if len(names) < 2:
            raise DataError(f"{self._path}: one label only, {shown(names[0])}; expected two or more classes")
        if self._others:
            raise DataError(
                f"{self._path}: {len(names) + len(self._others)} different labels, expected at most {_MAX_LABELS}; "
                "check data.label"
            )
        ids = np.empty(len(names), dtype=np.int32)
        ids[[self._numbers[name] for name in names]] = np.arange(len(names))
        return tuple(names), ids[np.frombuffer(self._rows, np.int32)]


class _Groups:
    """The groups of a file: a number for each row; rows with the same value have the same number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._rows = array("i")

    def add(self, name: str) -> None:
        self._rows.append(self._numbers.setdefault(name, len(self._numbers)))

    def ids(self) -> NDArray[np.int32]:
        """Returns the number of each row's group."""
        return np.frombuffer(self._rows, np.int32)


def _is_missing(value: Any) -> bool:
    import pandas as pd

    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


def _group(config: DataConfig) -> str:
    return "" if config.group is None else f" group {config.group}"


def _by_number_then_name(name: str) -> tuple[bool, int, str]:
    number = re.fullmatch(r"-?[0-9]{1,18}", name)
    return (number is None, int(name) if number else 0, name)


def _label_name(value: Any) -> str:
    """Returns a label as the user wrote it: 1.0 becomes 1, because pandas reads a column with gaps as floats."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()
