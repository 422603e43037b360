"""Recurrent layers compiled for a CPU: the stock cells' equations, computed over real words alone.

What makes it fast, each exact but for the last bits of a sum:

- Reviews are packed by length, the longest first, so that step t touches only those that have a t-th word.
- Each distinct word of a batch is multiplied by the input weights once and looked up after that; going back, the
  gradients of a word's places are added first and multiplied once.
- The weights' gradients are one large product each, after the loop.
- A step is one product with the recurrent weights and one loop over the gates, in place, in memory that is kept.

The layout of weights is Keras' own: gates i, f, c, o (LSTM) and z, r, h with the reset gate after the product (GRU).
NumPy in, NumPy out; every array is float32, or int32 where it counts. B reviews, T steps, N words in all, H units, E
entries of a vector; G is H times the cell's gates.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnexp.model.kernel import packing
from rnnexp.model.kernel.loops import CELLS, LOOPS

__all__ = ["CELLS", "Gradients", "Recurrence", "Table"]

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

_NO_STATES = np.empty((0, 0, 0), np.float32)


@dataclass(frozen=True)
class Table:
    """What words stand for.

    Attributes:
        embedding: (V, E).
        dropout: share of the vectors' entries that are dropped, each word's own.
        seed: draws which, (2,), int32.
    """

    embedding: Floats
    dropout: float
    seed: Ints


@dataclass(frozen=True)
class Gradients:
    """What going back gives.

    Attributes:
        inputs: of the input (B, T, E), zero past each review's end; or, where words came in, of the embedding's rows.
        rows: whose rows these are, (R,); empty where no words came in. With one thread each is there once.
        kernel: (E, G).
        recurrent: (H, G).
        bias: (G,), or (2, G) for a GRU.
    """

    inputs: Floats
    rows: Ints
    kernel: Floats
    recurrent: Floats
    bias: Floats


class Recurrence:
    """One layer's computation. Going back belongs to the last time of going forward with `learn`."""

    def __init__(self, cell: str, threads: int = 1) -> None:
        """Args:
        cell: one of `CELLS`.
        threads: share the reviews of a batch; the last bits of the weights' gradients depend on how many.
        """
        self._parts = [_Part(cell, index) for index in range(threads)]
        self._used = self._parts
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self._bias_shape: tuple[int, ...] = ()
        self._vectors_shape: tuple[int, ...] | None = None

    def forward(
        self,
        inputs: Floats | Ints,
        lengths: Ints,
        table: Table | None,
        weights: Sequence[Floats],
        *,
        learn: bool,
        return_sequences: bool,
    ) -> Floats:
        """Reads a batch.

        Args:
            inputs: words (B, T) where there is a table, else vectors (B, T, E).
            lengths: words of each review, from 1 to T, (B,).
            table: what words stand for.
            weights: kernel (E, G), recurrent kernel (H, G), bias (G,) or, for a GRU, (2, G).
            learn: whether `backward` will follow.
            return_sequences: whether to return all of them.

        Returns:
            The state after each review's last word (B, H), or all states (B, T, H), zero past each review's end.
        """
        self._bias_shape = weights[2].shape
        self._vectors_shape = None if table else inputs.shape
        H, reviews = weights[1].shape[0], np.argsort(-lengths, kind="stable").astype(np.int32)
        shape = (*inputs.shape[:2], H) if return_sequences else (len(lengths), H)
        result = np.zeros(shape, np.float32) if return_sequences else np.empty(shape, np.float32)
        states = result if return_sequences else _NO_STATES

        def read(part: "_Part", order: Ints) -> None:
            last = part.forward(inputs, lengths, order, table, weights, learn, states)
            if not return_sequences:
                result[order] = last

        self._used = self._parts[: len(reviews)]
        self._each(read, [reviews[index :: len(self._used)] for index in range(len(self._used))])
        return result

    def backward(self, gradient: Floats) -> Gradients:
        """Returns the gradients of what went in, from that of what came out, of the same shape as it."""
        of_vectors = None if self._vectors_shape is None else np.zeros(self._vectors_shape, np.float32)
        found = self._each(lambda part, _: part.backward(gradient, of_vectors), [None] * len(self._used))
        rows, values, kernels, recurrents, biases = zip(*found, strict=True)
        return Gradients(
            np.concatenate(values) if of_vectors is None else of_vectors,
            np.concatenate(rows),
            _sum(kernels),
            _sum(recurrents),
            _sum(biases).reshape(self._bias_shape),
        )

    def _each(self, call: Callable[..., Any], given: list[Any]) -> list[Any]:
        if self._pool is None:
            return [call(self._parts[0], given[0])]
        return list(self._pool.map(call, self._used, given))


def warm_up() -> None:
    """Compiles the loops, or loads what was compiled before; a process that is forked after that has them."""
    tokens, lengths = np.ones((2, 2), np.int32), np.full(2, 2, np.int32)
    for cell in sorted(CELLS):
        gates = LOOPS[cell][2]
        bias_shape = (2, gates) if cell == "gru" else (gates,)
        weights = np.zeros((1, gates), np.float32), np.zeros((1, gates), np.float32), np.zeros(bias_shape, np.float32)
        for dropout in (0.0, 0.5):
            layer = Recurrence(cell)
            table = Table(np.zeros((2, 1), np.float32), dropout, np.zeros(2, np.int32))
            layer.forward(tokens, lengths, table, weights, learn=True, return_sequences=False)
            layer.backward(np.zeros((2, 1), np.float32))
        layer.forward(np.zeros((2, 2, 1), np.float32), lengths, None, weights, learn=True, return_sequences=True)
        layer.backward(np.zeros((2, 2, 1), np.float32))


def _sum(parts: tuple[Floats, ...]) -> Floats:
    return parts[0] if len(parts) == 1 else np.sum(parts, axis=0)


@dataclass
class _Read:
    """What going back needs of a part's reviews.

    Attributes:
        active: reviews that have a t-th word, (steps,).
        first: the place of step t's first word, (steps + 1,).
        order: the reviews, longest first.
        places: whose row of `vectors` each word reads, (N,).
        numbers: whose row of `rows` each word is, (N,).
        vectors: what is multiplied by the kernel: a row a word, or a row a distinct word.
        rows: the distinct words, (R,).
        summed: whether several words read one of the vectors.
    """

    active: NDArray[np.int64]
    first: NDArray[np.int64]
    order: Ints
    places: Ints
    numbers: Ints
    vectors: Floats
    rows: Ints
    summed: bool


class _Part:
    """Some of a batch's reviews, and the memory that computing them takes, kept from batch to batch."""

    def __init__(self, cell: str, index: int) -> None:
        self._forward, self._backward, self._n_gates, self._remembers = LOOPS[cell]
        self._index = np.int32(index)
        self._memory: dict[str, Any] = {}

    def _array(self, name: str, *shape: int, dtype: Any = np.float32) -> Any:
        """Returns memory of the shape, not cleared; grown where it is too small.

        Memory that is asked of the system anew at every step costs as much as a small cell's arithmetic; what is asked
        for and not touched costs nothing, so little is asked for often.
        """
        size = int(np.prod(shape))
        if name not in self._memory or self._memory[name].size < size:
            self._memory[name] = np.empty(4 * size, dtype)
        return self._memory[name][:size].reshape(shape)

    def forward(
        self,
        inputs: Any,
        lengths: Ints,
        order: Ints,
        table: Table | None,
        weights: Sequence[Floats],
        learn: bool,
        states: Floats,
    ) -> Floats:
        """Computes the reviews `order`, longest first; returns their last states and fills `states`, if it is any."""
        kernel, recurrent, bias = weights
        self._weights, self._table = weights, table
        self._read = read = self._look_up(inputs, lengths[order], order, table)
        input_bias, own_bias = (bias[0], bias[1]) if bias.ndim == 2 else (bias, bias)
        projected = self._array("projected", len(read.vectors), kernel.shape[1])
        np.dot(read.vectors, kernel, out=projected)
        projected += input_bias

        H, n_kept = recurrent.shape[0], len(read.places) if learn else len(order)
        self._kept = (
            self._array("gates", n_kept, self._n_gates * H),
            self._array("memory", n_kept, H * self._remembers),
            self._array("before", n_kept, H),
        )
        last = self._array("last", len(order), H)
        kept = read.first if learn else np.zeros_like(read.first)  # what is not kept is written over at each step
        self._forward(
            *(read.active, read.first, kept, order, read.places, projected, recurrent, own_bias),
            *(*self._kept, last, states),
        )
        return last  # type: ignore[no-any-return]

    def _look_up(self, inputs: Any, lengths: Ints, order: Ints, table: Table | None) -> _Read:
        """Packs what is read."""
        steps = int(lengths[0]) if len(order) else 0
        active = np.searchsorted(-lengths, -np.arange(steps), side="left").astype(np.int64)
        first = np.zeros(steps + 1, np.int64)
        np.cumsum(active, out=first[1:])
        numbers = self._array("numbers", int(first[-1]), dtype=np.int32)
        each = np.arange(len(numbers), dtype=np.int32)
        if table is None:
            vectors = self._array("vectors", len(numbers), inputs.shape[2])
            packing.pack_rows(inputs, order, active, vectors)
            return _Read(active, first, order, each, each, vectors, each[:0], summed=False)
        packing.pack(inputs, order, active, numbers)
        if "place" not in self._memory:
            self._memory["place"] = np.full(len(table.embedding), -1, np.int32)
        distinct = self._array("distinct", min(len(numbers), len(table.embedding)), dtype=np.int32)
        rows = distinct[: packing.distinct(numbers, self._memory["place"], distinct)].copy()
        if not table.dropout:
            vectors = self._array("vectors", len(rows), table.embedding.shape[1])
            np.take(table.embedding, rows, axis=0, out=vectors, mode="clip")
            return _Read(active, first, order, numbers, numbers, vectors, rows, summed=True)
        vectors = self._array("vectors", len(numbers), table.embedding.shape[1])
        packing.look_up_dropped(table.embedding, rows, numbers, self._seed(table), table.dropout, vectors)
        return _Read(active, first, order, each, numbers, vectors, rows, summed=False)

    def _seed(self, table: Table) -> NDArray[np.uint32]:
        return (table.seed ^ self._index).astype(np.uint32)

    def backward(self, gradient: Floats, of_vectors: Floats | None) -> tuple[Ints, Floats, Floats, Floats, Floats]:
        """Returns rows, their gradients, and those of the weights; fills `of_vectors` where there is no table."""
        read, (kernel, recurrent, _), gates = self._read, self._weights, self._kept[0]
        d_last, d_states = (
            (np.zeros((len(read.order), recurrent.shape[0]), np.float32), gradient)
            if gradient.ndim == 3
            else (gradient[read.order], _NO_STATES)
        )
        differs = self._n_gates == 3  # a GRU's input has other gradients than its recurrent sums
        d_input = self._array("projected", len(read.vectors), kernel.shape[1]) if read.summed or differs else gates
        if read.summed:
            d_input[:] = 0
        self._backward(
            *(read.active, read.first, read.order, read.places, np.ascontiguousarray(recurrent.T)),
            *(*self._kept, d_last, d_states, d_input, read.summed),
        )
        d_bias = d_input.sum(axis=0)
        if differs:
            d_bias = np.stack([d_bias, gates.sum(axis=0)])
        d_vectors = self._array("d_vectors", *read.vectors.shape)
        np.dot(d_input, kernel.T, out=d_vectors)
        if of_vectors is not None:
            packing.unpack_rows(d_vectors, read.order, read.active, of_vectors)
        elif self._table is not None and not read.summed:
            d_words, d_vectors = d_vectors, self._array("d_rows", len(read.rows), kernel.shape[0])
            d_vectors[:] = 0
            packing.add_dropped(d_words, read.numbers, self._seed(self._table), self._table.dropout, d_vectors)
        return read.rows, d_vectors, read.vectors.T @ d_input, self._kept[2].T @ gates, d_bias
