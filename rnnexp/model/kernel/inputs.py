"""The packed inputs of a layer: the words of a batch in the order of steps, and their vectors.

B texts, T steps, N words of the batch, R distinct words, E entries of a vector.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnnexp.model.kernel import packing
from rnnexp.model.kernel.buffers import Buffers
from rnnexp.model.kernel.team import Team, ranges

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Embedding:
    """The vectors of the words.

    Attributes:
        vectors: (V, E).
        dropout: share of a vector's entries that are dropped, independently for each word of the batch.
        seed: selects the dropped entries, together with the place of a word in the batch; (2,), int32: the number of
            the generator, and the number of the step.
    """

    vectors: Floats
    dropout: float
    seed: Ints


@dataclass(frozen=True)
class StateDropout:
    """The dropout of the states. Each gate has a mask for each text, which is the same at all steps, as in Keras.

    Attributes:
        rate: share of a state's entries that a gate does not see.
        seed: selects them, as that of `Embedding`; (2,), int32.
    """

    rate: float
    seed: Ints


@dataclass(frozen=True)
class PackedInputs:
    """The packed inputs of a batch, which the backward pass needs again.

    Attributes:
        active: texts that have a t-th word, (T,).
        first: index of the first word of step t, (T + 1,).
        order: row in the batch of each text, longest first.
        each: the numbers from 0 to N - 1.
        places: row of `vectors` of each word, (N,).
        numbers: index in `rows` of each word, (N,); without an embedding as `each`.
        vectors: the vectors that are multiplied by the kernel: one for each word, or one for each distinct word.
        rows: the distinct words, (R,).
        summed: whether several words share one of the vectors.
    """

    active: NDArray[np.int64]
    first: NDArray[np.int64]
    order: Ints
    each: Ints
    places: Ints
    numbers: Ints
    vectors: Floats
    rows: Ints
    summed: bool


def pack(
    inputs: Floats | Ints, lengths: Ints, embedding: Embedding | None, buffers: Buffers, team: Team
) -> PackedInputs:
    """Packs the words and looks up their vectors.

    Args:
        inputs: word ids (B, T) if there is an embedding, else vectors (B, T, E).
        lengths: words of each text, from 1 to T, (B,).
        embedding: the vectors of the words.
        buffers: hold the result until the next call.
        team: the threads.
    """
    order = np.argsort(-lengths, kind="stable").astype(np.int32)
    steps = int(lengths[order[0]])
    active = np.searchsorted(-lengths[order], -np.arange(steps), side="left").astype(np.int64)
    first = np.zeros(steps + 1, np.int64)
    np.cumsum(active, out=first[1:])
    numbers = buffers.array("numbers", int(first[-1]), dtype=np.int32)
    each = np.arange(len(numbers), dtype=np.int32)
    if embedding is None:
        vectors = buffers.array("vectors", len(each), inputs.shape[2])
        packing.pack_rows(inputs, order, active, vectors)
        return PackedInputs(active, first, order, each, each, each, vectors, each[:0], summed=False)
    packing.pack(inputs, order, active, numbers)
    V, E = embedding.vectors.shape
    distinct = buffers.array("distinct", min(len(numbers), V), dtype=np.int32)
    rows = distinct[: packing.number_words(numbers, buffers.filled("number_of", V, -1), distinct)].copy()
    if not embedding.dropout:
        vectors = buffers.array("vectors", len(rows), E)
        np.take(embedding.vectors, rows, axis=0, out=vectors, mode="clip")
        return PackedInputs(active, first, order, each, numbers, numbers, vectors, rows, summed=True)
    vectors = buffers.array("vectors", len(numbers), E)
    table, rate, seed = embedding.vectors, embedding.dropout, embedding.seed.view(np.uint32)

    def look_up(of_steps: slice) -> None:
        packing.look_up_dropped(
            table, rows, numbers, order, active, first, seed, rate, vectors, of_steps.start, of_steps.stop
        )

    team.run(look_up, ranges(steps, team.size))
    return PackedInputs(active, first, order, each, each, numbers, vectors, rows, summed=False)
