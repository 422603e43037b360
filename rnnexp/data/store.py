"""Token stores: a data set as flat arrays on disk, built once and memory-mapped by every process.

    tokens.npy      the ids of all texts, concatenated, uint32, shape (n_tokens,)
    offsets.npy     text i is tokens[offsets[i]:offsets[i + 1]], int64, shape (n_texts + 1,)
    labels.npy      class ids, int32, shape (n_texts,)
    groups.npy      group of each text of the training pool, int32, shape (n_pool,), if the data set has groups
    vocabulary.txt  one word per line, by rank
    meta.json       names, counts, and the hashes of the other files

The training pool comes first, then the test part. A store is written to a temporary folder and renamed, under a lock.
Stores of earlier versions have no groups; they stay valid, and are built again for a split that needs groups.
"""

import hashlib
import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from rnnexp import disk, locks
from rnnexp.config import names
from rnnexp.config.trial import DataConfig
from rnnexp.data.files import Progress, TextFile
from rnnexp.data.source import DataSet, Encoded, Texts
from rnnexp.data.splits import Split, split
from rnnexp.data.task import Task
from rnnexp.data.text import RESERVED, Vocabulary
from rnnexp.data.tokenized import Ids
from rnnexp.errors import DataError, DataUnavailableError
from rnnexp.home import Home

_FORMAT = 1
_HASH = "blake2b"
_N_TEXTS = 4096
"""Number of texts that are written at once."""

_ARRAYS = ("tokens.npy", "offsets.npy", "labels.npy", "vocabulary.txt")
_GROUPS = "groups.npy"
_ROWS_AT_ONCE = 10_000


@dataclass(frozen=True)
class TokenStore:
    """One data set on disk; the tokens are memory-mapped, not loaded."""

    root: Path
    name: str
    labels: tuple[str, ...]
    n_pool: int
    n_test: int
    digest: str

    @classmethod
    def open(cls, root: Path) -> "TokenStore":
        """Opens a store that `prepare` has built.

        Raises:
            DataError: if the folder is missing or is not a token store.
        """
        try:
            meta = json.loads((root / "meta.json").read_text(encoding="utf-8"))
            return cls(root, meta["name"], tuple(meta["labels"]), meta["n_pool"], meta["n_test"], meta["digest"])
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{root}: not a token store ({error}); delete the folder, then it is built again") from None

    @cached_property
    def _tokens(self) -> NDArray[np.uint32]:
        return cast(NDArray[np.uint32], np.load(self.root / "tokens.npy", mmap_mode="r"))

    @cached_property
    def _offsets(self) -> NDArray[np.int64]:
        return cast(NDArray[np.int64], np.load(self.root / "offsets.npy"))

    @cached_property
    def label_ids(self) -> NDArray[np.int32]:
        """Class ids, shape (n_pool + n_test,)."""
        return cast(NDArray[np.int32], np.load(self.root / "labels.npy"))

    @cached_property
    def groups(self) -> NDArray[np.int32]:
        """The group of each text of the training pool, shape (n_pool,); only if the data set has groups."""
        return cast(NDArray[np.int32], np.load(self.root / _GROUPS))

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary.load(self.root / "vocabulary.txt")

    @property
    def task(self) -> Task:
        return Task(self.labels)

    @property
    def test_rows(self) -> NDArray[np.int64]:
        return np.arange(self.n_pool, self.n_pool + self.n_test)

    def token_ids(self, row: int) -> Ids:
        """Returns the ids of one text, shape (n,)."""
        return np.asarray(self._tokens[self._offsets[row] : self._offsets[row + 1]])

    def lengths(self, rows: NDArray[np.int64], maxlen: int) -> NDArray[np.int64]:
        """Returns the number of ids of each text, at most `maxlen`, shape (len(rows),)."""
        lengths: NDArray[np.int64] = np.minimum(self._offsets[rows + 1] - self._offsets[rows], maxlen)
        return lengths

    def word_counts(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns how often each id occurs in some texts, shape (largest id of the vocabulary + 1,)."""
        counts = np.zeros(len(self.vocabulary.words) + RESERVED + 1, dtype=np.int64)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            some = rows[start : start + _ROWS_AT_ONCE]
            ids = np.concatenate([self.token_ids(int(row)) for row in some])
            counts += np.bincount(ids, minlength=len(counts))
        return counts

    def mean_length(self, config: DataConfig) -> float:
        """Returns the mean number of time steps T of the training texts."""
        if config.padding == "fixed":
            return float(config.maxlen)
        return float(self.lengths(self.split(config).train, config.maxlen).mean())

    def split(self, config: DataConfig) -> Split:
        """Splits the training pool by the settings; raises `DataError` if there are too few rows."""
        groups = self.groups if config.keeps_groups else None
        return split(self.label_ids[: self.n_pool], config, config.path or config.name, groups)


def data_set(config: DataConfig, progress: Progress | None = None) -> DataSet:
    """Returns the data set of the settings; `progress` is told how much of the user's own file has been read."""
    if config.path is not None:
        return TextFile(Path(config.path), progress)
    return built_in(config.name)


def built_in(name: str) -> DataSet:
    """Returns a built-in data set, a module of `rnnexp/data/sets/`."""
    return cast(DataSet, importlib.import_module(f"rnnexp.data.sets.{name}"))


def digest_of_test_part(config: DataConfig) -> str:
    """Returns a short hash of the test part: two settings with the same hash have the same rows in it.

    The digest of a store depends on the vocabulary too, which is that of the training part.
    """
    return hashlib.sha256(data_set(config).identity_of_test_part(config).encode()).hexdigest()[:16]


def texts_depend_on_seed(config: DataConfig) -> bool:
    """Tells whether `data.seed` decides more than the split: which texts there are, or which are in the test part."""
    other = config.model_copy(update={"seed": config.seed + 1})
    return config.path is not None or data_set(config).identity(config) != data_set(other).identity(other)


def resolve(config: DataConfig) -> tuple[DataConfig, str | None]:
    """Decides which data are used: the named data set, or the fallback of the settings.

    Returns:
        The settings with the data set that is used, and a message for the user if it is the fallback, else None.

    Raises:
        DataError: if the named data set has an error for which the fallback does not apply.
    """
    decided = config.model_copy(update={"fallback": None})
    if config.fallback is None:
        return decided, None
    try:
        data_set(config).identity(config)
    except DataUnavailableError as error:
        message = f"{error}. Using generated reviews instead (data.fallback); every run records the data that it used."
        how = "stratified" if config.split == "by_film" else config.split  # generated reviews have no films
        return decided.model_copy(update={"name": config.fallback, "path": None, "group": None, "split": how}), message
    return decided, None


def prepare(config: DataConfig, home: Home, progress: Progress | None = None) -> TokenStore:
    """Returns the store of the data set; builds it if it is missing or damaged.

    Args:
        config: the settings of the data.
        home: the store is in its cache.
        progress: receives the share of the user's own file that has been read, 0 to 1; not called for a built store.

    Raises:
        DataUnavailableError: if the data are not on this machine and the download failed.
        DataError: if they are damaged, or have too few rows.
    """
    source = data_set(config, progress)
    digest = hashlib.sha256(f"{_FORMAT} {source.identity(config)}".encode()).hexdigest()[:16]
    root = home.cache / f"{config.name}-{digest}"
    needed = (_GROUPS,) if config.keeps_groups else ()
    if not _is_built(root, needed):
        # Everything is read and checked before the first write, so that wrong input leaves no files.
        data = source.read(config)
        if config.keeps_groups and data.groups is None:
            raise DataError(
                f"{config.name}: the reviews are not in the order of the published data set, so their films are not "
                "known; use data.split: stratified, or the published files"
            )
        split(data.pool_labels, config, config.path or config.name, data.groups if config.keeps_groups else None)
        with locks.held(home.cache / f"{root.name}.lock"):
            if not _is_built(root, needed):
                _build(data, root, config.name, digest)
    store = TokenStore.open(root)
    store.split(config)
    return store


def _is_built(root: Path, needed: Sequence[str]) -> bool:
    try:
        return is_valid(root, needed)
    except OSError as error:
        raise DataError(f"{root}: cannot be read now ({error.strerror or error}); try again") from None


def is_valid(root: Path, needed: Sequence[str] = ()) -> bool:
    """Tells whether the store exists, has the needed files, and every file has its recorded hash.

    Raises:
        OSError: if its files cannot be read now, for example because too many files are open.
    """
    try:
        meta: dict[str, Any] = json.loads((root / "meta.json").read_text(encoding="utf-8"))
        names = {*_ARRAYS, *needed, *meta["files"]}
        return all(disk.file_hash(root / name, _HASH) == meta["files"][name] for name in names)
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return False


def _build(data: Encoded, root: Path, name: str, digest: str) -> None:
    with disk.replacing_folder(root) as work:
        offsets = _write_tokens([data.pool, data.test], work / "tokens.npy")
        np.save(work / "offsets.npy", offsets)
        np.save(work / "labels.npy", np.concatenate([data.pool_labels, data.test_labels]).astype(np.int32))
        data.vocabulary.save(work / "vocabulary.txt")
        if data.groups is not None:
            np.save(work / _GROUPS, data.groups.astype(np.int32))
        written = [*_ARRAYS, *([_GROUPS] if data.groups is not None else [])]
        meta = {
            "format": _FORMAT,
            "name": name,
            "digest": digest,
            "labels": list(data.labels),
            "n_pool": len(data.pool),
            "n_test": len(data.test),
            "files": {file: disk.file_hash(work / file, _HASH) for file in written},
        }
        (work / "meta.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")


def _write_tokens(parts: Sequence[Texts], path: Path) -> NDArray[np.int64]:
    """Writes the ids of all texts as `np.save` does, but not at once; returns the offsets of the texts."""
    offsets = np.zeros(1 + sum(len(texts) for texts in parts), dtype=np.int64)
    np.cumsum([len(ids) for texts in parts for ids in texts], out=offsets[1:])
    header = {"descr": "<u4", "fortran_order": False, "shape": (int(offsets[-1]),)}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for texts in parts:
            for start in range(0, len(texts), _N_TEXTS):
                block = [texts[row] for row in range(start, min(start + _N_TEXTS, len(texts)))]
                file.write(np.concatenate(block).astype("<u4").tobytes())
    return offsets


def known() -> dict[str, str]:
    """Returns the names of the built-in data sets, and a description of each."""
    return {name: built_in(name).description() for name in names.data_sets()}
