"""IMDB reviews, the same as `keras.datasets.imdb.load_data` returns, with the whole vocabulary.

Maas et al., "Learning Word Vectors for Sentiment Analysis", ACL 2011: 25,000 reviews for training and 25,000 for test.
The files are searched in the folder RNNEXP_DATA, then in the cache of Keras; otherwise Keras downloads them and checks
their hashes.

The reviews are in the file in the order of their original names, NUMBER_RATING.txt: positive ones first, each class
sorted as text. Reviews of one film have neighbouring numbers. So blocks of neighbouring numbers represent films.
"""

import json
import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnexp import disk
from rnnexp.config.trial import DataConfig
from rnnexp.data import npz
from rnnexp.data.source import Encoded
from rnnexp.data.text import RESERVED, START, Vocabulary
from rnnexp.errors import DataError, DataUnavailableError

_FILES = {
    "imdb.npz": "69664113be75683a8fe16e3ed0ab59fda8886cb3cd7ada244f7d9544e4676b9f",
    "imdb_word_index.json": "bfafd718b763782e994055a2d397834f",
}
_SHUFFLE_SEED = 113
_N_OF_A_CLASS = 12_500
_BLOCK = 50
"""Reviews with neighbouring numbers that are held out together. A film has up to 30 of them."""

_SAME_FILMS = (
    *((0, 0), (143, 41), (597, 195), (905, 241), (1037, 277), (1467, 434), (1836, 546), (2197, 688), (2619, 838)),
    *((3039, 918), (3331, 977), (3563, 1051), (4006, 1154), (4441, 1306), (4640, 1351), (5094, 1440), (5400, 1593)),
    *((5519, 1613), (5926, 1775), (6288, 1900), (7041, 2138), (7488, 2280), (7891, 2370), (8091, 2456), (8574, 2622)),
    *((8818, 2688), (9222, 2832), (9766, 2941), (10189, 3180), (10387, 3274), (10879, 3469), (11180, 3561)),
    *((11398, 3629), (11586, 3661), (11694, 3718), (12157, 3847), (12371, 3928), (12500, 3970)),
)
"""Numbers of a positive and of a negative review of one film, found by the names that both contain.

The films are in the same order in both classes; the negative reviews from 3970 on are of other films. Between these
pairs the numbers are interpolated. That is exact to some ten numbers.
"""

_LABELS = ("negative", "positive")
_DOWNLOAD_TIMEOUT_S = 600
_DOWNLOAD = """
import socket
socket.setdefaulttimeout(30)
from keras.utils import get_file
origin = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
for name, digest in {files}.items():
    print(get_file(name, origin=origin + name, file_hash=digest))
"""


def description() -> str:
    """Returns a description of one line."""
    return "50,000 film reviews, negative or positive (Maas et al. 2011), the same as in Keras"


def licence() -> str:
    """Returns who may use the texts."""
    return (
        "The authors of the data set published the reviews for research and state no licence; "
        "the reviews belong to the people who wrote them at IMDb."
    )


def local_path() -> str | None:
    """Returns the folder of the files, or None if they must be downloaded."""
    found, _ = _search()
    return str(found[0].parent) if found else None


def identity(config: DataConfig) -> str:
    """Returns the hashes of the two files; downloads the files if necessary."""
    return " ".join(_digest(path, path.stat().st_mtime_ns, "sha256") for path in _locate())


def identity_of_test_part(config: DataConfig) -> str:
    """Returns the same: the files name the test part."""
    return identity(config)


def read(config: DataConfig) -> Encoded:
    """Reads, shuffles and shifts the reviews as Keras does: start 1, unknown 2, the word of rank r is r + 3."""
    reviews, index = _locate()
    arrays = npz.read(reviews, ("x_train", "y_train", "x_test", "y_test"))
    vocabulary = _vocabulary(index)
    # One generator for both parts, as in Keras: the order of the test part depends on the size of the training part.
    rng = np.random.RandomState(_SHUFFLE_SEED)
    reviews_of, labels_of = {}, {}
    for part in ("train", "test"):
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        if len(x) != len(y) or not len(x):
            raise DataError(
                f"{reviews}: x_{part} has {len(x)} rows and y_{part} {len(y)}; expected the same number, at least 1"
            )
        if not set(np.unique(y).tolist()) <= {0, 1}:
            raise DataError(f"{reviews}: y_{part} contains {np.unique(y)[:5].tolist()}; expected only 0 and 1")
        order = np.arange(len(x))
        rng.shuffle(order)
        if part == "train":
            blocks = _film_blocks(y)
            groups = None if blocks is None else blocks[order]
        reviews_of[part] = [_shift(x[row]) for row in order]
        labels_of[part] = y[order].astype(np.int32)
    return Encoded(
        reviews_of["train"], labels_of["train"], reviews_of["test"], labels_of["test"], vocabulary, _LABELS, groups
    )


def _film_blocks(labels: NDArray[Any]) -> NDArray[np.int32] | None:
    """Returns the block of each review of the file's training part; None if the rows are in another order."""
    if not np.array_equal(labels, np.repeat([1, 0], _N_OF_A_CLASS)):
        return None
    numbers = np.array(sorted(range(_N_OF_A_CLASS), key="{}_".format))
    positive = numbers // _BLOCK
    of_same_film = np.interp(numbers, [negative for _, negative in _SAME_FILMS], [number for number, _ in _SAME_FILMS])
    n_shared, n_blocks = _SAME_FILMS[-1][1], -(-_N_OF_A_CLASS // _BLOCK)
    negative = np.where(
        numbers < n_shared, of_same_film.astype(np.int64) // _BLOCK, n_blocks + (numbers - n_shared) // _BLOCK
    )
    return np.concatenate([positive, negative]).astype(np.int32)


def _shift(ranks: NDArray[np.int64]) -> NDArray[np.uint32]:
    return np.concatenate(([START], ranks + RESERVED)).astype(np.uint32)


def _vocabulary(path: Path) -> Vocabulary:
    try:
        ranks = json.loads(path.read_text(encoding="utf-8"))
        by_rank = {int(rank): str(word) for word, rank in ranks.items()}
        words = tuple(by_rank[rank] for rank in range(1, len(ranks) + 1))
        if any("\n" in word for word in words):
            raise ValueError("a word has a line break")
        return Vocabulary(words)
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError, OverflowError) as error:
        raise DataError(f"{path}: damaged ({error}); expected words and their ranks, from 1 without gaps") from None


def _locate() -> tuple[Path, Path]:
    """Returns the paths of the two files; downloads them if they are not on this machine."""
    found, tried = _search()
    if found is not None:
        return found
    failure = _download()
    if failure is None:
        return _cached()
    tried.append(f"the download failed ({failure})")
    raise DataUnavailableError(
        f"imdb: the data are not available: {'; '.join(tried)}; "
        f"put {' and '.join(_FILES)} into a folder and set RNNEXP_DATA to it"
    )


def _search() -> tuple[tuple[Path, Path] | None, list[str]]:
    """Searches the two files on this machine; returns their paths or None, and the places without them."""
    folder = os.environ.get("RNNEXP_DATA")
    tried: list[str] = []
    if folder:
        found = [Path(folder) / name for name in _FILES]
        if all(path.is_file() for path in found):
            return (found[0], found[1]), tried
        tried.append(f"RNNEXP_DATA={folder} has no {' and '.join(path.name for path in found if not path.is_file())}")
    if all(path.is_file() and _has_published_hash(path) for path in _cached()):
        return _cached(), tried
    tried.append("the cache of Keras has no valid copy")
    return None, tried


def _cached() -> tuple[Path, Path]:
    """Returns the paths of the two files in the cache of Keras."""
    cache = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "datasets"
    reviews, index = (cache / name for name in _FILES)
    return reviews, index


def _has_published_hash(path: Path) -> bool:
    published = _FILES[path.name]
    return _digest(path, path.stat().st_mtime_ns, "sha256" if len(published) == 64 else "md5") == published


@lru_cache(maxsize=8)
def _digest(path: Path, changed_ns: int, algorithm: str) -> str:
    return disk.file_hash(path, algorithm)


@lru_cache(maxsize=1)
def _download() -> str | None:
    """Downloads both files with Keras in a separate process; returns the reason of a failure, or None."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _DOWNLOAD.format(files=_FILES)],
            capture_output=True,
            text=True,
            timeout=_DOWNLOAD_TIMEOUT_S,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
    except subprocess.TimeoutExpired:
        return f"not finished after {_DOWNLOAD_TIMEOUT_S} s"
    if done.returncode == 0:
        return None
    last = [line for line in done.stderr.strip().splitlines() if line.strip()]
    return last[-1].strip()[:160] if last else f"exit code {done.returncode}"
