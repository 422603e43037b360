"""One recurrent layer, computed by the compiled loops of its cell, over real words only.

It computes the equations of the stock layer; results differ in the last bits of sums. What makes it fast:

- Texts are packed by length, the longest first, so that step t touches only the texts that have a t-th word.
- Each distinct word of a batch is multiplied by the input weights once and looked up afterwards. In the backward pass
  the gradients of a word's places are added first and multiplied once.
- The gradient of each weight matrix is one large product after the loop.
- A step is one product with the recurrent weights and one loop over the gates, in place, in memory that is reused.

The layout of the weights is that of Keras. NumPy in, NumPy out; all arrays are float32, indices are int32. B texts,
T steps, N words of the batch, R distinct words, H units, E entries of a vector; G is H times the cell's gates.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnexp.config.names import cells
from rnnexp.model.cells import Cell, cell
from rnnexp.model.kernel import packing
from rnnexp.model.kernel.numba_compiler import compiled

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

_NO_STATES = np.empty((0, 0, 0), np.float32)
_GROWTH = 4
"""Buffers are allocated larger than needed by this factor, so that longer batches rarely need new ones."""


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
class Gradients:
    """The result of the backward pass.

    Attributes:
        inputs: of the input vectors (B, T, E), zero past the end of each text; or, for word ids, of rows of the
            embedding, (R, E).
        rows: the rows of the embedding, (R,); empty for input vectors. With one thread they are distinct.
        kernel: (E, G).
        recurrent: (H, G).
        bias: (G,), or (2, G) where the cell has two rows.
    """

    inputs: Floats
    rows: Ints
    kernel: Floats
    recurrent: Floats
    bias: Floats


class Recurrence:
    """The computation of one layer. `backward` belongs to the last call of `forward` with `learn`."""

    def __init__(self, cell: Cell, threads: int = 1) -> None:
        """Args:
        cell: a cell with compiled loops.
        threads: they share the texts of a batch; the last bits of the weights' gradients depend on their number.
        """
        self._shares = [_Share(cell) for _ in range(threads)]
        self._used = self._shares
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self._bias_shape: tuple[int, ...] = ()
        self._inputs_shape: tuple[int, ...] | None = None

    def forward(
        self,
        inputs: Floats | Ints,
        lengths: Ints,
        embedding: Embedding | None,
        weights: Sequence[Floats],
        *,
        learn: bool,
        return_sequences: bool,
    ) -> Floats:
        """Computes the states of a batch.

        Args:
            inputs: word ids (B, T) if there is an embedding, else vectors (B, T, E).
            lengths: words of each text, from 1 to T, (B,).
            embedding: the vectors of the words.
            weights: kernel (E, G), recurrent kernel (H, G), bias (G,) or (2, G).
            learn: whether `backward` will follow.
            return_sequences: whether to return all states.

        Returns:
            The state after the last word of each text (B, H); or all states (B, T, H), zero past the end of each text.
        """
        self._bias_shape = weights[2].shape
        self._inputs_shape = None if embedding else inputs.shape
        H, order = weights[1].shape[0], np.argsort(-lengths, kind="stable").astype(np.int32)
        shape = (*inputs.shape[:2], H) if return_sequences else (len(lengths), H)
        result = np.zeros(shape, np.float32) if return_sequences else np.empty(shape, np.float32)
        states = result if return_sequences else _NO_STATES

        def run(share: "_Share", texts: Ints) -> None:
            last = share.forward(inputs, lengths, texts, embedding, weights, learn, states)
            if not return_sequences:
                result[texts] = last

        self._used = self._shares[: len(order)]
        # Contiguous, as in `warm_up`: the loops are compiled anew for another memory layout.
        texts_of_shares = [np.ascontiguousarray(order[index :: len(self._used)]) for index in range(len(self._used))]
        self._for_each_share(run, texts_of_shares)
        return result

    def backward(self, gradient: Floats) -> Gradients:
        """Returns the gradients of inputs and weights.

        Args:
            gradient: of what `forward` returned, of the same shape.
        """
        d_inputs = None if self._inputs_shape is None else np.zeros(self._inputs_shape, np.float32)
        parts = self._for_each_share(lambda share, _: share.backward(gradient, d_inputs), [None] * len(self._used))
        rows, d_rows, kernels, recurrents, biases = zip(*parts, strict=True)
        return Gradients(
            np.concatenate(d_rows) if d_inputs is None else d_inputs,
            np.concatenate(rows),
            _sum(kernels),
            _sum(recurrents),
            _sum(biases).reshape(self._bias_shape),
        )

    def _for_each_share(self, call: Callable[..., Any], arguments: list[Any]) -> list[Any]:
        if self._pool is None:
            return [call(self._shares[0], arguments[0])]
        return list(self._pool.map(call, self._used, arguments))


def warm_up_all() -> None:
    """Compiles the loops of all cells, or loads them from Numba's cache. A process that is forked later has them."""
    for name in cells():
        if cell(name).loops is not None:
            warm_up(cell(name))


def warm_up(of: Cell) -> None:
    """Compiles the loops of a cell, or loads them from Numba's cache."""
    tokens, lengths = np.ones((2, 2), np.int32), np.full(2, 2, np.int32)
    G = of.n_gates
    bias_shape = (G,) if of.bias_rows == 1 else (of.bias_rows, G)
    weights = np.zeros((1, G), np.float32), np.zeros((1, G), np.float32), np.zeros(bias_shape, np.float32)
    for dropout in (0.0, 0.5):
        layer = Recurrence(of)
        embedding = Embedding(np.zeros((2, 1), np.float32), dropout, np.zeros(2, np.int32))
        layer.forward(tokens, lengths, embedding, weights, learn=True, return_sequences=False)
        layer.backward(np.zeros((2, 1), np.float32))
    layer.forward(np.zeros((2, 2, 1), np.float32), lengths, None, weights, learn=True, return_sequences=True)
    layer.backward(np.zeros((2, 2, 1), np.float32))


def _sum(parts: tuple[Floats, ...]) -> Floats:
    return parts[0] if len(parts) == 1 else np.sum(parts, axis=0)


@dataclass
class _PackedInputs:
    """The packed inputs of a share of the batch, which `backward` needs again.

    Attributes:
        active: texts that have a t-th word, (T,).
        first: index of the first word of step t, (T + 1,).
        order: row in the batch of each text, longest first.
        places: row of `vectors` of each word, (N,).
        numbers: index in `rows` of each word, (N,).
        vectors: the vectors that are multiplied by the kernel: one for each word, or one for each distinct word.
        rows: the distinct words, (R,).
        summed: whether several words share one of the vectors.
    """

    active: NDArray[np.int64]
    first: NDArray[np.int64]
    order: Ints
    places: Ints
    numbers: Ints
    vectors: Floats
    rows: Ints
    summed: bool


class _Share:
    """One thread's share of the texts of a batch, and its buffers, which are reused for every batch."""

    def __init__(self, cell: Cell) -> None:
        if cell.loops is None:
            raise ValueError("the cell has no compiled loops")
        self._cell, self._loops = cell, cell.loops
        self._forward, self._backward = compiled(cell.loops.forward), compiled(cell.loops.backward)
        self._buffers: dict[str, Any] = {}

    def _array(self, name: str, *shape: int, dtype: Any = np.float32) -> Any:
        """Returns a buffer of the shape, with arbitrary contents; enlarges it if it is too small.

        Allocating memory at every step costs as much as the arithmetic of a small cell. Memory that is allocated and
        not touched costs nothing, so buffers are allocated generously and rarely.
        """
        size = int(np.prod(shape))
        if name not in self._buffers or self._buffers[name].size < size:
            self._buffers[name] = np.empty(_GROWTH * size, dtype)
        return self._buffers[name][:size].reshape(shape)

    def forward(
        self,
        inputs: Any,
        lengths: Ints,
        order: Ints,
        embedding: Embedding | None,
        weights: Sequence[Floats],
        learn: bool,
        states: Floats,
    ) -> Floats:
        """Computes the texts `order`, longest first; returns their last states and fills `states` if it has a size."""
        kernel, recurrent, bias = weights
        self._weights, self._embedding = weights, embedding
        self._packed = packed = self._pack(inputs, lengths[order], order, embedding)
        bias_rows = bias.reshape(self._cell.bias_rows, -1)
        projected = self._array("projected", len(packed.vectors), kernel.shape[1])
        np.dot(packed.vectors, kernel, out=projected)
        projected += bias_rows[0]

        H, n_kept = recurrent.shape[0], len(packed.places) if learn else len(order)
        self._kept = (
            self._array("gates", n_kept, self._cell.n_gates * H),
            self._array("memory", n_kept, H if self._loops.keeps_memory else 0),
            self._array("before", n_kept, H),
        )
        last = self._array("last", len(order), H)
        kept = packed.first if learn else np.zeros_like(packed.first)  # without learning each step overwrites the last
        self._forward(
            *(packed.active, packed.first, kept, order, packed.places, projected, recurrent, bias_rows[-1]),
            *(*self._kept, last, states),
        )
        return last  # type: ignore[no-any-return]

    def _pack(self, inputs: Any, lengths: Ints, order: Ints, embedding: Embedding | None) -> _PackedInputs:
        """Packs the words and looks up their vectors."""
        steps = int(lengths[0]) if len(order) else 0
        active = np.searchsorted(-lengths, -np.arange(steps), side="left").astype(np.int64)
        first = np.zeros(steps + 1, np.int64)
        np.cumsum(active, out=first[1:])
        numbers = self._array("numbers", int(first[-1]), dtype=np.int32)
        each = np.arange(len(numbers), dtype=np.int32)
        if embedding is None:
            vectors = self._array("vectors", len(numbers), inputs.shape[2])
            packing.pack_rows(inputs, order, active, vectors)
            return _PackedInputs(active, first, order, each, each, vectors, each[:0], summed=False)
        packing.pack(inputs, order, active, numbers)
        if "number_of" not in self._buffers:
            self._buffers["number_of"] = np.full(len(embedding.vectors), -1, np.int32)
        distinct = self._array("distinct", min(len(numbers), len(embedding.vectors)), dtype=np.int32)
        rows = distinct[: packing.number_words(numbers, self._buffers["number_of"], distinct)].copy()
        if not embedding.dropout:
            vectors = self._array("vectors", len(rows), embedding.vectors.shape[1])
            np.take(embedding.vectors, rows, axis=0, out=vectors, mode="clip")
            return _PackedInputs(active, first, order, numbers, numbers, vectors, rows, summed=True)
        vectors = self._array("vectors", len(numbers), embedding.vectors.shape[1])
        seed, dropout = embedding.seed.view(np.uint32), embedding.dropout
        packing.look_up_dropped(embedding.vectors, rows, numbers, order, active, seed, dropout, vectors)
        return _PackedInputs(active, first, order, each, numbers, vectors, rows, summed=False)

    def backward(self, gradient: Floats, d_inputs: Floats | None) -> tuple[Ints, Floats, Floats, Floats, Floats]:
        """Returns rows, their gradients, and those of the weights; fills `d_inputs` where the inputs are vectors."""
        packed, (kernel, recurrent, _), gates = self._packed, self._weights, self._kept[0]
        d_last, d_states = (
            (np.zeros((len(packed.order), recurrent.shape[0]), np.float32), gradient)
            if gradient.ndim == 3
            else (gradient[packed.order], _NO_STATES)
        )
        separate = packed.summed or self._loops.separate_input_gradients
        d_projected = self._array("projected", len(packed.vectors), kernel.shape[1]) if separate else gates
        if packed.summed:
            d_projected[:] = 0
        self._backward(
            *(packed.active, packed.first, packed.order, packed.places, np.ascontiguousarray(recurrent.T)),
            *(*self._kept, d_last, d_states, d_projected, packed.summed),
        )
        d_bias = d_projected.sum(axis=0)
        if self._cell.bias_rows == 2:
            d_bias = np.stack([d_bias, gates.sum(axis=0)])
        d_vectors = self._array("d_vectors", *packed.vectors.shape)
        np.dot(d_projected, kernel.T, out=d_vectors)
        if d_inputs is not None:
            packing.unpack_rows(d_vectors, packed.order, packed.active, d_inputs)
        elif self._embedding is not None and not packed.summed:
            d_words, d_vectors = d_vectors, self._array("d_rows", len(packed.rows), kernel.shape[0])
            d_vectors[:] = 0
            seed, dropout = self._embedding.seed.view(np.uint32), self._embedding.dropout
            packing.add_dropped(d_words, packed.numbers, packed.order, packed.active, seed, dropout, d_vectors)
        return packed.rows, d_vectors, packed.vectors.T @ d_projected, self._kept[2].T @ gates, d_bias
