"""Token stores: a data set as flat arrays on disk, built once, memory-mapped by every process.

    tokens.npy      all reviews end to end, uint32, shape (n_tokens,)
    offsets.npy     review i is tokens[offsets[i]:offsets[i + 1]], int64, shape (n_reviews + 1,)
    labels.npy      class ids, int32, shape (n_reviews,)
    vocabulary.txt  one word a line, by rank
    meta.json       names, counts, and the hashes of the other files

The training pool comes first, the test part after it. A store is written beside its place and renamed, under a lock.
"""

import hashlib
import importlib
import json
import shutil
import tempfile
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
from rnnexp.data.files import TextFile
from rnnexp.data.source import DataSet, Encoded, Ids
from rnnexp.data.splits import Split, split
from rnnexp.data.task import Task
from rnnexp.data.text import Vocabulary
from rnnexp.errors import DataError, DataUnavailableError
from rnnexp.home import Home

_FORMAT = 1
_HASH = "blake2b"
_ARRAYS = ("tokens.npy", "offsets.npy", "labels.npy", "vocabulary.txt")


@dataclass(frozen=True)
class TokenStore:
    """One data set on disk; the arrays are mapped, not loaded."""

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
            DataError: if it is not there or not one.
        """
        try:
            meta = json.loads((root / "meta.json").read_text(encoding="utf-8"))
            return cls(root, meta["name"], tuple(meta["labels"]), meta["n_pool"], meta["n_test"], meta["digest"])
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{root}: no token store ({error}); delete the folder, it is built again") from None

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
    def vocabulary(self) -> Vocabulary:
        return Vocabulary.load(self.root / "vocabulary.txt")

    @property
    def task(self) -> Task:
        return Task(self.labels)

    @property
    def test_rows(self) -> NDArray[np.int64]:
        return np.arange(self.n_pool, self.n_pool + self.n_test)

    def review(self, row: int) -> Ids:
        """Returns one review's ids, shape (n,)."""
        return np.asarray(self._tokens[self._offsets[row] : self._offsets[row + 1]])

    def lengths(self, rows: NDArray[np.int64], maxlen: int) -> NDArray[np.int64]:
        """Returns the number of ids of each row after cutting, shape (len(rows),)."""
        lengths: NDArray[np.int64] = np.minimum(self._offsets[rows + 1] - self._offsets[rows], maxlen)
        return lengths

    def mean_length(self, config: DataConfig) -> float:
        """Returns the mean number of steps T of the training texts, as they are batched."""
        if config.padding == "fixed":
            return float(config.maxlen)
        return float(self.lengths(self.split(config).train, config.maxlen).mean())

    def split(self, config: DataConfig) -> Split:
        """Parts the pool as the settings say; raises `DataError` where the rows do not suffice."""
        return split(self.label_ids[: self.n_pool], config, config.path or config.name)


def data_set(config: DataConfig) -> DataSet:
    """Returns the data set that the settings name."""
    if config.path is not None:
        return TextFile(Path(config.path))
    return built_in(config.name)


def built_in(name: str) -> DataSet:
    """Returns a module of `rnnexp/data/sets/`."""
    return cast(DataSet, importlib.import_module(f"rnnexp.data.sets.{name}"))


def resolve(config: DataConfig) -> tuple[DataConfig, str | None]:
    """Settles which data are used: those named, or the fallback that the settings name.

    Returns:
        The settings with the data really used, and one line for the user where that is the fallback.

    Raises:
        DataError: if the data cannot be had and no fallback is named.
    """
    settled = config.model_copy(update={"fallback": None})
    if config.fallback is None:
        return settled, None
    try:
        data_set(config).identity(config)
    except DataUnavailableError as error:
        line = f"{error}. Going on with generated reviews (data.fallback); every run is labelled with them."
        return settled.model_copy(update={"name": config.fallback, "path": None}), line
    return settled, None


def prepare(config: DataConfig, home: Home) -> TokenStore:
    """Returns the data set's store, built first where it is not there or damaged.

    Raises:
        DataUnavailableError: if the data cannot be had.
        DataError: if they are damaged or do not suffice.
    """
    source = data_set(config)
    digest = hashlib.sha256(f"{_FORMAT} {source.identity(config)}".encode()).hexdigest()[:16]
    root = home.cache / f"{config.name}-{digest}"
    if not is_valid(root):
        # Read and checked before anything is written: wrong input leaves nothing behind.
        data = source.read(config)
        split(data.pool_labels, config, config.path or config.name)
        with locks.held(home.cache / f"{root.name}.lock"):
            if not is_valid(root):
                shutil.rmtree(root, ignore_errors=True)
                _build(data, root, config.name, digest)
    store = TokenStore.open(root)
    store.split(config)
    return store


def is_valid(root: Path) -> bool:
    """Tells whether the store is there and every file is the one that was written."""
    try:
        meta: dict[str, Any] = json.loads((root / "meta.json").read_text(encoding="utf-8"))
        return all(disk.file_hash(root / name, _HASH) == meta["files"][name] for name in _ARRAYS)
    except (OSError, ValueError, KeyError):
        return False


def _build(data: Encoded, root: Path, name: str, digest: str) -> None:
    reviews: Sequence[Ids] = [*data.pool, *data.test]
    work = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        offsets = np.zeros(len(reviews) + 1, dtype=np.int64)
        np.cumsum([len(review) for review in reviews], out=offsets[1:])
        np.save(work / "tokens.npy", np.concatenate(reviews).astype(np.uint32))
        np.save(work / "offsets.npy", offsets)
        np.save(work / "labels.npy", np.concatenate([data.pool_labels, data.test_labels]).astype(np.int32))
        data.vocabulary.save(work / "vocabulary.txt")
        meta = {
            "format": _FORMAT,
            "name": name,
            "digest": digest,
            "labels": list(data.labels),
            "n_pool": len(data.pool),
            "n_test": len(data.test),
            "files": {file: disk.file_hash(work / file, _HASH) for file in _ARRAYS},
        }
        (work / "meta.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")
        work.chmod(0o755)
        work.replace(root)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def known() -> dict[str, str]:
    """Returns each built-in data set's name and one line about it."""
    return {name: built_in(name).about() for name in names.data_sets()}
