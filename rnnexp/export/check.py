"""The check that an export must pass: in a new process, from text, the same probabilities as in training."""

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
_MOST_REVIEWS = 512
_NO_WORD = "\ue000"
"""Of the private use area: in no vocabulary, and no punctuation, so it reads as one unknown word."""


@dataclass(frozen=True)
class Parity:
    """How far a format's probabilities are from training's.

    Attributes:
        format: `keras` or `saved_model`.
        n_reviews: held-out reviews that were compared.
        difference: the largest of any probability.
    """

    format: str
    n_reviews: int
    difference: float


def check(root: Path, store: Path, held_out: Path, context: BaseContext) -> list[Parity]:
    """Loads a bundle in a new process and compares every format of it with training.

    Args:
        root: the bundle.
        store: the token store that it was trained on.
        held_out: the trial's probabilities on its validation part.
        context: starts the process.

    Raises:
        WorkError: if a format does not run, or differs by more than 1e-5.
    """
    ours, theirs = context.Pipe()
    process = context.Process(target=_compare, args=(root, store, held_out, theirs))  # type: ignore[attr-defined]
    process.start()
    theirs.close()
    try:
        answer: list[Parity] | str = ours.recv()
    except EOFError:
        process.join()
        answer = f"its process ended with code {process.exitcode}"
    process.join()
    if isinstance(answer, str):
        raise WorkError(f"the export does not run: {answer}")
    for parity in answer:
        if not parity.difference <= TOLERANCE:
            raise WorkError(
                f"the export is not the trained model: format {parity.format} differs from training by "
                f"{parity.difference:.2g} on {parity.n_reviews} held-out reviews, expected at most {TOLERANCE:g}"
            )
    return answer


def _compare(root: Path, store: Path, held_out: Path, pipe: Any) -> None:
    quiet.standard_error().__enter__()  # for this process's whole life; what fails is sent
    try:
        pipe.send(_parities(root, store, held_out))
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")


def _parities(root: Path, store_root: Path, held_out: Path) -> list[Parity]:
    from rnnexp.export.predictor import Predictor, by_label

    bundle, store = Bundle.open(root), TokenStore.open(store_root)
    with np.load(held_out, allow_pickle=False) as arrays:
        rows, expected = arrays["rows"], by_label(arrays["probabilities"], store.task)
    chosen, texts = _texts(bundle, store, rows)
    result = []
    for name in bundle.formats:
        if name == "keras":
            found = Predictor(bundle).probabilities(texts)
        else:
            from rnnexp.export.saved_model import answer

            found = answer(root / "saved_model", texts)
        result.append(Parity(name, len(texts), float(np.max(np.abs(found - expected[chosen])))))
    return result


def _texts(bundle: Bundle, store: TokenStore, rows: NDArray[np.int64]) -> tuple[list[int], list[str]]:
    """Returns places in `rows`, and those reviews as text that reads as the same ids again.

    IMDB's own tokenizer left words that no text gives back, such as one with a capital letter in the middle.
    """
    vocabulary, data = bundle.vocabulary, bundle.config.data
    chosen: list[int] = []
    texts: list[str] = []
    for place in np.random.default_rng(0).permutation(len(rows)):
        ids = store.review(int(rows[place]))
        text = store.vocabulary.decode(ids, unknown=_NO_WORD)
        again = cut(vocabulary.encode(words(text)), data.vocab_size, data.maxlen)
        if np.array_equal(again, cut(ids, data.vocab_size, data.maxlen)):
            chosen.append(int(place))
            texts.append(text)
        if len(texts) == _MOST_REVIEWS:
            break
    if not texts:
        raise ValueError("no held-out review reads as the same ids again")
    return chosen, texts
