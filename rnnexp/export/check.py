"""The parity check of an export: in a new process, raw texts must give the same probabilities as in training."""

import contextlib
import itertools
import signal
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnexp import quiet
from rnnexp.data.store import TokenStore
from rnnexp.data.text import cut, words
from rnnexp.errors import WorkError
from rnnexp.export import formats
from rnnexp.export.bundle import Bundle
from rnnexp.export.formats import Probabilities
from rnnexp.export.formats.keras import by_label

_MAX_TEXTS, _MAX_MEASURED_TEXTS = 512, 2_000
"""So many held-out texts are compared; more if the accuracy is measured on them, too."""
_SMALL_BATCH = 64
_REPEATS_OF_ONE, _REPEATS_OF_BATCH = 30, 5
_UNKNOWN = "\ue000"
"""A character for private use: it is in no vocabulary and is not punctuation, so it is read as one unknown word."""

PROBES = ("This is a good movie", "This is not a good movie")
"""Two texts that differ by one word, which reverses the meaning."""


@dataclass(frozen=True)
class Speed:
    """How long a format takes on this machine: medians, in milliseconds.

    Attributes:
        one_text_ms: for a text of median length.
        batch_of_64_ms: for 64 held-out texts.
    """

    one_text_ms: float
    batch_of_64_ms: float


@dataclass(frozen=True)
class Parity:
    """The difference between the probabilities of a format and those of training.

    Attributes:
        format: its name.
        n_texts: number of held-out texts that were compared.
        difference: largest absolute difference of a probability.
        tolerance: the largest accepted difference.
        accuracy: share of these texts whose label it predicts.
        speed: None if it was not measured.
    """

    format: str
    n_texts: int
    difference: float
    tolerance: float
    accuracy: float
    speed: Speed | None


@dataclass(frozen=True)
class Checked:
    """The result of a check.

    Attributes:
        parities: of each format.
        probes: what the model predicts for `PROBES`, and the probability of that.
    """

    parities: tuple[Parity, ...]
    probes: tuple[tuple[str, float], ...]


class CheckProcess:
    """A new process that checks one bundle. It loads TensorFlow while its caller does other work."""

    def __init__(self, context: BaseContext) -> None:
        """Starts the process.

        Args:
            context: the multiprocessing context.
        """
        self._pipe, pipe = context.Pipe()
        self._process = context.Process(target=_serve, args=(pipe,), daemon=True)  # type: ignore[attr-defined]
        self._process.start()
        pipe.close()

    def result(self, root: Path, store: Path, held_out: Path, measure: bool) -> Checked:
        """Returns the parity of each format of a bundle; the arguments are those of `check`.

        Raises:
            WorkError: if a format does not run.
        """
        try:
            self._pipe.send((root, store, held_out, measure))
            answer: Checked | str = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            answer = f"its process ended with code {self._process.exitcode}"
        if isinstance(answer, str):
            raise WorkError(f"the exported model cannot be run: {answer}")
        return answer

    def kill(self) -> None:
        """Ends the process; a call of `result` in another thread then raises."""
        self._process.kill()
        self._process.join()


def check(root: Path, store: Path, held_out: Path, process: CheckProcess, *, measure: bool) -> Checked:
    """Loads a bundle in a new process and compares each of its formats with training.

    Args:
        root: the folder of the bundle.
        store: the folder of the token store of the training data.
        held_out: the file of the trial's probabilities on its validation part.
        process: the new process; it can check no other bundle.
        measure: whether to measure the speed of each format, and its accuracy on more texts.

    Raises:
        WorkError: if a format does not run, or differs by more than its tolerance.
    """
    found = process.result(root, store, held_out, measure)
    for parity in found.parities:
        if not parity.difference <= parity.tolerance:
            raise WorkError(
                f"the export is not the trained model: probabilities of format {parity.format} differ from training by "
                f"{parity.difference:.2g} on {parity.n_texts} held-out texts, expected at most {parity.tolerance:g}"
            )
    return found


def _serve(pipe: Any) -> None:
    """Receives one bundle and answers with what it found, or with a reason. Ends with the process that waits for it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the process that waits decides
    with quiet.standard_error():  # errors are sent through the pipe
        with contextlib.suppress(Exception):  # the check itself reports it
            from rnnexp.export import predictor

            predictor.warm_up()
        with contextlib.suppress(EOFError, OSError):  # nobody waits any more
            request = pipe.recv()
            try:
                answer: Checked | str = _check(*request)
            except Exception as error:
                answer = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            pipe.send(answer)


def _check(root: Path, store_root: Path, held_out: Path, measure: bool) -> Checked:
    bundle, store = Bundle.open(root), TokenStore.open(store_root)
    with np.load(held_out, allow_pickle=False) as arrays:
        rows, expected = arrays["rows"], by_label(arrays["probabilities"], store.task)
    indices, texts = _texts(bundle, store, rows, _MAX_MEASURED_TEXTS if measure else _MAX_TEXTS)
    labels = store.label_ids[rows[indices]]
    parities: list[Parity] = []
    probes: list[tuple[str, float]] = []
    for name in bundle.formats:
        with quiet.standard_error():
            format_ = formats.module(name)
            probabilities = format_.load(bundle)
        found = probabilities(texts)
        difference = float(np.max(np.abs(found - expected[indices])))
        accuracy = float(np.mean(np.argmax(found, axis=1) == labels))
        speed = _speed(probabilities, texts) if measure else None
        parities.append(Parity(name, len(texts), difference, format_.TOLERANCE, accuracy, speed))
        if not probes:
            probes = [(bundle.labels[int(np.argmax(row))], float(np.max(row))) for row in probabilities(PROBES)]
    return Checked(tuple(parities), tuple(probes))


def _speed(probabilities: Probabilities, texts: Sequence[str]) -> Speed:
    one = sorted(texts, key=len)[len(texts) // 2 :][:1]
    return Speed(
        _median_ms(probabilities, one, _REPEATS_OF_ONE),
        _median_ms(probabilities, list(itertools.islice(itertools.cycle(texts), _SMALL_BATCH)), _REPEATS_OF_BATCH),
    )


def _median_ms(probabilities: Probabilities, texts: Sequence[str], n_repeats: int) -> float:
    """Returns the median time of a call; the first one, which prepares the model for this size, does not count."""
    times = []
    for _ in range(n_repeats + 1):
        start = time.perf_counter()
        probabilities(texts)
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times[1:])


def _texts(bundle: Bundle, store: TokenStore, rows: NDArray[np.int64], limit: int) -> tuple[list[int], list[str]]:
    """Returns indices into `rows`, and their texts, at most so many. Encoding such a text gives the same ids again.

    Some IMDB texts are left out: their words contain characters that our tokenizer removes or changes.
    """
    vocabulary, data = bundle.vocabulary, bundle.config.data
    indices: list[int] = []
    texts: list[str] = []
    for index in np.random.default_rng(0).permutation(len(rows)):
        ids = store.token_ids(int(rows[index]))
        text = store.vocabulary.decode(ids, unknown=_UNKNOWN)
        encoded = cut(vocabulary.encode(words(text)), data.vocab_size, data.maxlen)
        if np.array_equal(encoded, cut(ids, data.vocab_size, data.maxlen)):
            indices.append(int(index))
            texts.append(text)
        if len(texts) == limit:
            break
    if not texts:
        raise ValueError("no held-out text can be encoded to the same ids again")
    return indices, texts
