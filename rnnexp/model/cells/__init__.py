"""The recurrent cells, one module each. The name of the module is a value of `model.cell`.

A module defines `CELL`. All that the program knows of a cell is there; nothing else has to be edited to add one.
The modules import neither Keras nor Numba when they are imported: the supervisor reads gate counts and costs from them.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


class LayerFactory(Protocol):
    """Builds a cell's Keras layer, (B, T, E) → (B, T, H)."""

    def __call__(self, units: int, recurrent_dropout: float, name: str) -> Any:
        """Returns the layer.

        Its weights are, in this order, the kernel (E, G), the recurrent kernel (H, G) and the bias (G,), or
        (`bias_rows`, G); G is H times the number of gates.

        Args:
            units: H.
            recurrent_dropout: share of the state that is dropped at each step.
            name: the layer's name.
        """
        ...


@dataclass(frozen=True)
class Loops:
    """The loops of a cell over time, for Numba. Without them a cell runs as Keras runs its layer.

    The functions are plain Python; `kernel.numba_compiler` compiles them, and inserts the functions of `kernel.math`
    that they call. The texts of a batch are packed: the words of step t are `active[t]` rows from row `first[t]` on,
    and row b of every step belongs to the b-th text, in the order of decreasing length. N words, B texts, T steps, R
    rows of `projected`, H units, G gates times H. All arrays are float32, indices are int32 or int64.

    A call computes the steps from `begin` to `end`, of all texts of the batch or of some that follow each other. Then
    `active`, `first`, `kept` and what has a row for each text are those of these texts. Calls for other texts may run
    at the same time; they use the same arrays of words.

    `forward(begin, end, active, first, kept, order, places, projected, recurrent, bias, gates, memory, before, last,
    states)` reads the first ten and writes the others:

        active        texts that have a word at step t, (T,)
        first         first row of step t, (T + 1,)
        kept          first row of step t in gates, memory and before: as `first`, or the same row for all steps where
                      nothing has to be kept
        order         row in the batch of each text, (B,)
        places        row of `projected` that each word reads, (N,)
        projected     input times kernel, plus the first row of the bias, (R, G)
        recurrent     recurrent kernel, for `kernel.math.times_recurrent`, which applies the dropout of states: the
                      kernel (H, G); a mask for each text (B, G) or (0, 0); the kernel of each gate (G / H, H, H)
        bias          last row of the bias, (G,); with one row it is in `projected` already
        gates         values of the gates, (N, G)
        memory        what else `backward` needs, (N, H); (N, 0) without `keeps_memory`
        before        state before each step, (N, H); zero before the first one
        last          state after the last word of each text, (B, H)
        states        all states in the order of the batch, (B, T, H), or (0, 0, 0) if they are not needed

    `backward(begin, end, active, first, order, places, recurrent_t, gates, memory, before, gradient, carried, d_states,
    d_projected, summed)` computes the steps in reverse order. It replaces `gates` by the gradients of the recurrent
    sums under the gates:

        recurrent_t   recurrent kernel, transposed, for `kernel.math.times_transposed`
        gradient      gradient of `last`, (B, H); it is overwritten by that of the state before the step
        carried       what else passes from a step to the one before, (B, H); zero at the last step
        d_states      gradient of `states`, or (0, 0, 0)
        d_projected   gradient of `projected`, to be written where `separate_input_gradients` or `summed`; else it is
                      the same array as `gates`
        summed        whether several words read one row of `projected`: gradients are then added to `d_projected`,
                      which is zero at the start

    Attributes:
        forward: computes the states.
        backward: computes the gradients of the last call of `forward`.
        keeps_memory: whether `memory` has H entries for each word.
        separate_input_gradients: whether the gradients of `projected` differ from those of the recurrent sums.
        layer_settings: the configuration that the cell's layer must have for the loops to compute the same. Settings
            that the layer does not have are ignored.
    """

    forward: Callable[..., None]
    backward: Callable[..., None]
    keeps_memory: bool = False
    separate_input_gradients: bool = False
    layer_settings: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class OnnxOperator:
    """The operator of ONNX that computes a cell: `RNN`, `GRU` or `LSTM`.

    Attributes:
        name: the operator.
        gates: for each gate in the order of ONNX, its index in the order of Keras.
        attributes: further attributes of the operator.
    """

    name: str
    gates: tuple[int, ...]
    attributes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """A recurrent cell.

    Attributes:
        title: its name in sentences.
        layer: builds its Keras layer.
        n_gates: products with the state at each step: columns of the kernels, in units.
        bias_rows: 2 where the input and the recurrent sums have a bias each, else 1.
        word_ns: measured time of a training step for each word, without products; see `model.cost`. The default is
            that of an LSTM.
        unit_ns: the same, for each unit of each word.
        loops: its compiled loops, if it has any.
        onnx: the operator of ONNX that computes it; None if there is none, then it cannot be exported to ONNX.
    """

    title: str
    layer: LayerFactory
    n_gates: int
    bias_rows: int = 1
    word_ns: float = 209.0
    unit_ns: float = 5.17
    loops: Loops | None = None
    onnx: OnnxOperator | None = None

    def n_weights(self, input_dim: int, units: int) -> int:
        """Returns the weights of one layer."""
        return self.n_gates * units * (input_dim + units + self.bias_rows)


def cell(name: str) -> Cell:
    """Returns the cell of that name."""
    found: Cell = importlib.import_module(f"rnnexp.model.cells.{name}").CELL
    return found
