"""One recurrent layer, computed by the compiled loops of its cell, over real words only.

It computes the equations of the stock layer; results differ in the last bits of sums. What makes it fast:

- Texts are packed by length, the longest first, so that step t touches only the texts that have a t-th word.
- Each distinct word of a batch is multiplied by the input weights once and looked up afterwards. In the backward pass
  the gradients of a word's places are added first and multiplied once.
- The gradient of each weight matrix is one large product after the loop.
- A step is one product with the recurrent weights and one loop over the gates, in place, in memory that is reused.

The result does not depend on the number of threads. Large products and sums are divided into blocks whose number
follows from their size, and `RowSplits` divides the texts of the loops only where that changes no bit.

The layout of the weights is that of Keras. NumPy in, NumPy out; all arrays are float32, indices are int32. B texts,
T steps, N words of the batch, R distinct words, H units, E entries of a vector; G is H times the cell's gates.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnnexp.config.names import cells
from rnnexp.model.cells import Cell, cell
from rnnexp.model.kernel import packing
from rnnexp.model.kernel.buffers import Buffers
from rnnexp.model.kernel.inputs import Embedding, StateDropout, pack
from rnnexp.model.kernel.numba_compiler import compiled
from rnnexp.model.kernel.splits import Part, RowSplits
from rnnexp.model.kernel.team import Team, ranges

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

_NO_STATES, _NO_MASKS = np.empty((0, 0, 0), np.float32), np.empty((0, 0), np.float32)
_BLOCK_ROWS, _MOST_BLOCKS = 8192, 8
"""Rows in a block of a large product, at least, and blocks of it. With 1,024 rows a step of LSTM(32) took 3% longer."""
_LINE = 16
"""Numbers in a cache line. Two threads that write to one line slow each other down."""


@dataclass(frozen=True)
class Gradients:
    """The result of the backward pass.

    Attributes:
        inputs: of the input vectors (B, T, E), zero past the end of each text; or, for word ids, of rows of the
            embedding, (R, E), which are valid until the next batch.
        rows: the rows of the embedding, (R,), each once; empty for input vectors.
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

    def __init__(self, cell: Cell, team: Team | None = None) -> None:
        """Args:
        cell: a cell with compiled loops.
        team: the threads; without it there is one.
        """
        if cell.loops is None:
            raise ValueError("the cell has no compiled loops")
        self._cell, self._loops = cell, cell.loops
        self._forward, self._backward = compiled(cell.loops.forward), compiled(cell.loops.backward)
        self._team = team or Team()
        self._splits: dict[tuple[int, ...], RowSplits] = {}
        self._buffers = Buffers()

    def forward(
        self,
        inputs: Floats | Ints,
        lengths: Ints,
        embedding: Embedding | None,
        weights: Sequence[Floats],
        *,
        learn: bool,
        return_sequences: bool,
        dropout: StateDropout | None = None,
    ) -> Floats:
        """Computes the states of a batch.

        Args:
            inputs: word ids (B, T) if there is an embedding, else vectors (B, T, E).
            lengths: words of each text, from 1 to T, (B,).
            embedding: the vectors of the words.
            weights: kernel (E, G), recurrent kernel (H, G), bias (G,) or (2, G).
            learn: whether `backward` will follow.
            return_sequences: whether to return all states.
            dropout: of the states.

        Returns:
            The state after the last word of each text (B, H); or all states (B, T, H), zero past the end of each text.
        """
        kernel, recurrent, bias = weights
        self._weights, self._embedding, self._inputs_shape = weights, embedding, inputs.shape
        self._packed = packed = pack(inputs, lengths, embedding, self._buffers, self._team)
        bias_rows = bias.reshape(self._cell.bias_rows, -1)
        projected = self._buffers.array("projected", len(packed.vectors), kernel.shape[1])

        def project(rows: slice) -> None:
            np.dot(packed.vectors[rows], kernel, out=projected[rows])
            projected[rows] += bias_rows[0]

        self._team.run(project, _blocks(len(projected)))

        H, n_texts = recurrent.shape[0], len(packed.order)
        n_kept = len(packed.places) if learn else n_texts
        self._kept = gates, memory, before = (
            self._buffers.array("gates", n_kept, self._cell.n_gates * H),
            self._buffers.array("memory", n_kept, H if self._loops.keeps_memory else 0),
            self._buffers.array("before", n_kept, H),
        )
        last = self._buffers.array("last", n_texts, H)
        states = np.zeros((*inputs.shape[:2], H), np.float32) if return_sequences else _NO_STATES
        self._masks = self._draw_masks(dropout, recurrent.shape[1])
        by_gate = self._by_gate(recurrent)

        def run(part: Part) -> None:
            # Without learning each step overwrites the last one.
            kept = part.first if learn else np.full_like(part.first, part.texts.start)
            self._forward(
                *(part.begin, part.end, part.active, part.first, kept, packed.order[part.texts], packed.places),
                *(projected, (recurrent, self._masks[part.texts], by_gate), bias_rows[-1], gates, memory, before),
                *(last[part.texts], states),
            )

        for group in self._parts(by_gate[0] if len(by_gate) else recurrent):
            self._team.run(run, group)
        if return_sequences:
            return states
        result = np.empty((n_texts, H), np.float32)
        result[packed.order] = last
        return result

    def _draw_masks(self, dropout: StateDropout | None, width: int) -> Floats:
        if dropout is None:
            return _NO_MASKS
        masks: Floats = self._buffers.array("masks", len(self._packed.order), width)
        packing.draw_masks(self._packed.order, dropout.seed.view(np.uint32), dropout.rate, masks)
        return masks

    def _by_gate(self, recurrent: Floats) -> Floats:
        """Returns the part of the recurrent kernel that each gate has, (G / H, H, H), if the gates have masks."""
        if not len(self._masks):
            return _NO_STATES
        parts = np.split(recurrent, self._cell.n_gates, axis=1)
        return np.ascontiguousarray(parts)

    def _parts(self, weights: Floats) -> list[list[Part]]:
        """Divides the batch for the product of each step with these weights."""
        if weights.shape not in self._splits:
            self._splits[weights.shape] = RowSplits(*weights.shape)
        splits, packed = self._splits[weights.shape], self._packed
        return splits.parts(packed.active, packed.first, self._team.size)

    def backward(self, gradient: Floats) -> Gradients:
        """Returns the gradients of inputs and weights.

        Args:
            gradient: of what `forward` returned, of the same shape.
        """
        packed, (kernel, recurrent, bias), (gates, _, before) = self._packed, self._weights, self._kept
        d_projected = self._run_backward(gradient)
        d_vectors = self._buffers.array("d_vectors", *packed.vectors.shape)
        of_vectors, of_words = _blocks(len(d_projected)), _blocks(len(gates))
        kernels = self._buffers.array("d_kernels", len(of_vectors), *kernel.shape)
        recurrents = self._buffers.array("d_recurrents", len(of_words), *recurrent.shape)
        biases = np.zeros((self._cell.bias_rows, max(len(of_vectors), len(of_words)), kernel.shape[1]), np.float32)

        def through_vectors(index: int) -> None:
            rows = of_vectors[index]
            np.dot(d_projected[rows], kernel.T, out=d_vectors[rows])
            np.dot(packed.vectors[rows].T, d_projected[rows], out=kernels[index])
            d_projected[rows].sum(axis=0, out=biases[0, index])

        def through_states(index: int) -> None:
            rows = of_words[index]
            if len(self._masks):
                self._through_masks(rows, recurrents[index])
            else:
                np.dot(before[rows].T, gates[rows], out=recurrents[index])
            if self._cell.bias_rows == 2:
                gates[rows].sum(axis=0, out=biases[1, index])

        calls: list[tuple[Callable[[int], None], int]] = [(through_states, index) for index in range(len(of_words))]
        calls += [(through_vectors, index) for index in range(len(of_vectors))]
        self._team.run(lambda call: call[0](call[1]), calls)
        return Gradients(
            self._of_inputs(d_vectors),
            packed.rows,
            kernels.sum(axis=0),
            recurrents.sum(axis=0),
            biases.sum(axis=1).reshape(bias.shape),
        )

    def _through_masks(self, rows: slice, d_recurrent: Floats) -> None:
        """Writes the gradient of the recurrent kernel at some words, where the gates have masks."""
        packed, (gates, _, before) = self._packed, self._kept
        steps = np.searchsorted(packed.first, packed.each[rows], side="right") - 1
        masks, H = self._masks[packed.each[rows] - packed.first[steps]], before.shape[1]
        for gate in range(self._cell.n_gates):
            of_gate = slice(gate * H, (gate + 1) * H)
            d_recurrent[:, of_gate] = (before[rows] * masks[:, of_gate]).T @ gates[rows, of_gate]

    def _run_backward(self, gradient: Floats) -> Floats:
        """Runs the loop; returns the gradients of the projected vectors, (R, G) or (N, G)."""
        packed, recurrent, (gates, memory, before) = self._packed, self._weights[1], self._kept
        n_texts, (H, G) = len(packed.order), recurrent.shape
        d_last, d_states = (
            (np.zeros((n_texts, H), np.float32), gradient)
            if gradient.ndim == 3
            else (gradient[packed.order], _NO_STATES)
        )
        recurrent_t, carried = np.ascontiguousarray(recurrent.T), np.zeros((n_texts, H), np.float32)
        by_gate_t = np.ascontiguousarray(self._by_gate(recurrent).transpose(0, 2, 1))
        groups = self._parts(by_gate_t[0] if len(by_gate_t) else recurrent_t)
        # Parts of the texts must not add to one sum at the same time.
        summed_by_loop = packed.summed and all(len(group) == 1 for group in groups)
        places = packed.places if summed_by_loop else packed.each
        sums = self._buffers.array("projected", len(packed.vectors), G)
        if summed_by_loop:
            d_projected = sums
            d_projected[:] = 0
        elif self._loops.separate_input_gradients:
            d_projected = self._buffers.array("d_words", len(gates), G)
        else:
            d_projected = gates

        def run(part: Part) -> None:
            self._backward(
                *(part.begin, part.end, part.active, part.first, packed.order[part.texts], places),
                *(
                    (recurrent_t, self._masks[part.texts], by_gate_t),
                    gates,
                    memory,
                    before,
                    d_last[part.texts],
                    carried[part.texts],
                    d_states,
                    d_projected,
                ),
                summed_by_loop,
            )

        for group in reversed(groups):
            self._team.run(run, group)
        if summed_by_loop or not packed.summed:
            return d_projected  # type: ignore[no-any-return]

        def add(columns: slice) -> None:
            packing.add_backwards(
                d_projected, packed.numbers, packed.active, packed.first, sums, columns.start, columns.stop
            )

        self._team.run(add, ranges(G, self._team.size, multiple=_LINE))
        return sums  # type: ignore[no-any-return]

    def _of_inputs(self, d_vectors: Floats) -> Floats:
        """Returns the gradients of the inputs, from those of the packed vectors."""
        packed = self._packed
        if self._embedding is None:
            d_inputs = np.zeros(self._inputs_shape, np.float32)
            packing.unpack_rows(d_vectors, packed.order, packed.active, d_inputs)
            return d_inputs
        if packed.summed:
            return d_vectors
        d_rows = self._buffers.array("d_rows", len(packed.rows), d_vectors.shape[1])
        seed, rate = self._embedding.seed.view(np.uint32), self._embedding.dropout

        def add(columns: slice) -> None:
            packing.add_dropped(
                *(d_vectors, packed.numbers, packed.order, packed.active, seed, rate, d_rows),
                *(columns.start, columns.stop),
            )

        self._team.run(add, ranges(d_vectors.shape[1], self._team.size, multiple=_LINE))
        return d_rows  # type: ignore[no-any-return]


def _blocks(n_rows: int) -> list[slice]:
    """Divides the rows of a large product. The blocks must not depend on the threads: the sums over them would, too."""
    return ranges(n_rows, min(_MOST_BLOCKS, max(1, n_rows // _BLOCK_ROWS)))


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
    seed = np.zeros(2, np.int32)
    for dropout, of_states in ((0.0, None), (0.5, StateDropout(0.5, seed))):
        layer = Recurrence(of)
        embedding = Embedding(np.zeros((2, 1), np.float32), dropout, seed)
        layer.forward(tokens, lengths, embedding, weights, learn=True, return_sequences=False, dropout=of_states)
        layer.backward(np.zeros((2, 1), np.float32))
    layer.forward(np.zeros((2, 2, 1), np.float32), lengths, None, weights, learn=True, return_sequences=True)
    layer.backward(np.zeros((2, 2, 1), np.float32))
    # What only several threads use.
    table, steps = np.zeros((2, 2), np.float32), np.array([1, 1])
    packing.add_backwards(table, seed, steps, np.array([0, 1, 2]), table.copy(), 0, 2)
    packing.multiply(table, table, table.copy())
