"""The parity check of an export: in a new process, raw texts must give the same probabilities as in training."""

import contextlib
import signal
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
from rnnexp.export.bundle import Bundle

TOLERANCE = 1e-5
_MAX_TEXTS = 512
_UNKNOWN = "\ue000"
"""A character for private use: it is in no vocabulary and is not punctuation, so it is read as one unknown word."""


@dataclass(frozen=True)
class Parity:
    """The difference between the probabilities of a format and those of training.

    Attributes:
        format: `keras` or `saved_model`.
        n_texts: number of held-out texts that were compared.
        difference: largest absolute difference of a probability.
    """

    format: str
    n_texts: int
    difference: float


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

    def parities(self, root: Path, store: Path, held_out: Path) -> list[Parity]:
        """Returns the parity of each format of a bundle; the arguments are those of `check`.

        Raises:
            WorkError: if a format does not run.
        """
        try:
            self._pipe.send((root, store, held_out))
            answer: list[Parity] | str = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join()
            answer = f"its process ended with code {self._process.exitcode}"
        if isinstance(answer, str):
            raise WorkError(f"the exported model cannot be run: {answer}")
        return answer

    def kill(self) -> None:
        """Ends the process; a call of `parities` in another thread then raises."""
        self._process.kill()
        self._process.join()


def check(root: Path, store: Path, held_out: Path, process: CheckProcess) -> list[Parity]:
    """Loads a bundle in a new process and compares each of its formats with training.

    Args:
        root: the folder of the bundle.
        store: the folder of the token store of the training data.
        held_out: the file of the trial's probabilities on its validation part.
        process: the new process; it can check no other bundle.

    Raises:
        WorkError: if a format does not run, or differs by more than 1e-5.
    """
    found = process.parities(root, store, held_out)
    for parity in found:
        if not parity.difference <= TOLERANCE:
            raise WorkError(
                f"the export is not the trained model: probabilities of format {parity.format} differ from training by "
                f"{parity.difference:.2g} on {parity.n_texts} held-out texts, expected at most {TOLERANCE:g}"
            )
    return found


def _serve(pipe: Any) -> None:
    """Receives one bundle and answers with its parities, or with a reason. Ends with the process that waits for it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the process that waits decides
    with quiet.standard_error():  # errors are sent through the pipe
        with contextlib.suppress(Exception):  # the check itself reports it
            from rnnexp.export import predictor

            predictor.warm_up()
        with contextlib.suppress(EOFError, OSError):  # nobody waits any more
            request = pipe.recv()
            try:
                answer: list[Parity] | str = _parities(*request)
            except Exception as error:
                answer = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            pipe.send(answer)


def _parities(root: Path, store_root: Path, held_out: Path) -> list[Parity]:
    from rnnexp.export.predictor import Predictor, by_label

    bundle, store = Bundle.open(root), TokenStore.open(store_root)
    with np.load(held_out, allow_pickle=False) as arrays:
        rows, expected = arrays["rows"], by_label(arrays["probabilities"], store.task)
    indices, texts = _texts(bundle, store, rows)
    result = []
    for name in bundle.formats:
        if name == "keras":
            found = Predictor(bundle).probabilities(texts)
        else:
            from rnnexp.export.saved_model import answer

            found = answer(root / "saved_model", texts)
        result.append(Parity(name, len(texts), float(np.max(np.abs(found - expected[indices])))))
    return result


def _texts(bundle: Bundle, store: TokenStore, rows: NDArray[np.int64]) -> tuple[list[int], list[str]]:
    """Returns indices into `rows`, and their texts. Encoding such a text gives the same ids again.

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
        if len(texts) == _MAX_TEXTS:
            break
    if not texts:
        raise ValueError("no held-out text can be encoded to the same ids again")
    return indices, texts
