"""Format `onnx`: a graph from tokens (B, T) to the probabilities of each label (B, C), for any B and T.

It is built from the weights with ONNX's own recurrent operators, which know the length of each text; converters of
Keras' loops make graphs that are slow, or do not run. The structure is that of `rnnexp.model.build`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from rnnexp.config.trial import TrialConfig
from rnnexp.errors import UserError
from rnnexp.export.bundle import Bundle, Source
from rnnexp.export.formats import Probabilities
from rnnexp.export.formats import keras as keras_format
from rnnexp.model.build import LOGITS, recurrent_layer_names
from rnnexp.model.cells import OnnxOperator, cell
from rnnexp.runtime.onnx_model import FILE, PROBABILITIES, TOKENS, load_checked

PATH = FILE
TOLERANCE = 1e-4
_OPSET, _IR_VERSION = 18, 9
"""ONNX Runtime reads them from version 1.15 (2023) on."""
_MASKED = -1e9
"""Replaces values at padding, as in `rnnexp.model.build`."""


def write(root: Path, source: Source, formats: Sequence[str]) -> None:
    """Writes the model, from the bundle's Keras file."""
    operator = cell(source.config.model.cell).onnx
    if operator is None:
        raise UserError(
            f"format onnx: no operator of ONNX computes the cell {source.config.model.cell}; leave the format out"
        )
    model = keras.saving.load_model(root / keras_format.PATH, compile=False, safe_mode=True)
    weights = {layer.name: [np.asarray(value) for value in layer.get_weights()] for layer in model.layers}
    onnx.save(build(source.config, operator, weights, binary=source.store.task.binary), root / PATH)


def load(bundle: Bundle) -> Probabilities:
    """Loads the model as the runtime does."""
    return load_checked(bundle.root, bundle.manifest).probabilities


def build(
    config: TrialConfig, operator: OnnxOperator, weights: dict[str, list[NDArray[np.float32]]], *, binary: bool
) -> onnx.ModelProto:
    """Builds the graph.

    Args:
        config: the settings of the trial.
        operator: computes its cell.
        weights: of each layer of the Keras model, by name.
        binary: whether the head has one output, the probability of the second label.
    """
    graph = _Graph()
    fixed, pooling = config.data.padding == "fixed", config.model.pooling
    words = graph.add("Transpose", TOKENS, perm=[1, 0])  # (T, B): the order of the recurrent operators
    is_word = None if fixed else graph.add("Not", graph.add("Equal", words, graph.constant(np.int32(0))))  # (T, B)
    lengths = "" if is_word is None else _lengths(graph, is_word)
    outputs = graph.add("Gather", graph.constant(weights["embedding"][0]), words, axis=0)  # (T, B, E)
    names = recurrent_layer_names(config)
    n_directions = len(names) // config.model.layers
    for first in range(0, len(names), n_directions):
        of_layer = [weights[name] for name in names[first : first + n_directions]]
        states, last = _recurrent(graph, operator, of_layer, outputs, lengths)
        outputs = _joined(graph, states, [0, 2, 1, 3], [0, 0, -1])  # (T, D, B, H) → (T, B, D H)
    if pooling == "last":
        pooled = _joined(graph, last, [1, 0, 2], [0, -1])  # (D, B, H) → (B, D H)
    else:
        mask = None if is_word is None else graph.add("Unsqueeze", is_word, graph.ints(-1))  # (T, B, 1)
        pooled = _pooled(graph, pooling, outputs, mask, lengths, weights)
    kernel, bias = weights[LOGITS]
    logits = graph.add("Add", graph.add("MatMul", pooled, graph.constant(kernel)), graph.constant(bias))
    if binary:
        positive = graph.add("Sigmoid", logits)
        negative = graph.add("Sub", graph.constant(np.float32(1)), positive)
        graph.add("Concat", negative, positive, output=PROBABILITIES, axis=1)
    else:
        graph.add("Softmax", logits, output=PROBABILITIES, axis=1)
    return graph.model(2 if binary else len(bias))


def _lengths(graph: "_Graph", is_word: str) -> str:
    """Returns the number of words of each text, (B,), at least 1."""
    counted = graph.add("ReduceSum", graph.add("Cast", is_word, to=TensorProto.INT32), graph.ints(0), keepdims=0)
    return graph.add("Max", counted, graph.constant(np.int32(1)))


def _recurrent(
    graph: "_Graph", operator: OnnxOperator, directions: list[list[NDArray[np.float32]]], inputs: str, lengths: str
) -> tuple[str, str]:
    """Adds one layer; returns all states (T, D, B, H) in the order of the words, and the last ones (D, B, H)."""
    kernels, recurrent, biases = zip(*(_onnx_weights(operator, *one) for one in directions), strict=True)
    operands = [graph.constant(np.stack(one)) for one in (kernels, recurrent, biases)]
    direction = "forward" if len(directions) == 1 else "bidirectional"
    units = recurrent[0].shape[1]
    states, last = graph.add_several(
        operator.name, 2, inputs, *operands, lengths, hidden_size=units, direction=direction, **operator.attributes
    )[:2]
    return states, last


def _onnx_weights(
    operator: OnnxOperator, kernel: NDArray[np.float32], recurrent: NDArray[np.float32], bias: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Returns the weights of one direction as ONNX has them: W (G, E), R (G, H), and both biases after each other."""
    units = recurrent.shape[0]
    columns = np.concatenate([np.arange(gate * units, (gate + 1) * units) for gate in operator.gates])
    both = np.atleast_2d(bias)[:, columns]
    if len(both) == 1:
        both = np.concatenate([both, np.zeros_like(both)])
    return kernel[:, columns].T, recurrent[:, columns].T, both.reshape(-1)


def _joined(graph: "_Graph", states: str, order: list[int], shape: list[int]) -> str:
    """Returns the states of the directions beside each other."""
    return graph.add("Reshape", graph.add("Transpose", states, perm=order), graph.ints(*shape))


def _pooled(
    graph: "_Graph",
    method: str,
    states: str,
    mask: str | None,
    lengths: str,
    weights: dict[str, list[NDArray[np.float32]]],
) -> str:
    """Returns one vector for each text, (T, B, H) → (B, H).

    Args:
        graph: to add to.
        method: `mean`, `max` or `attention`.
        states: (T, B, H).
        mask: where a text has a word, (T, B, 1); None if everywhere.
        lengths: (B,), with a mask.
        weights: of the attention.
    """
    if method == "attention":
        kernel, bias = weights["attention"]
        scores = graph.add("Add", graph.add("MatMul", states, graph.constant(kernel)), graph.constant(bias))
        if mask is not None:
            scores = graph.add("Where", mask, scores, graph.constant(np.float32(_MASKED)))
        shares = graph.add("Softmax", scores, axis=0)
        return graph.add("ReduceSum", graph.add("Mul", states, shares), graph.ints(0), keepdims=0)
    if method == "max":
        kept = states if mask is None else graph.add("Where", mask, states, graph.constant(np.float32(_MASKED)))
        return graph.add("ReduceMax", kept, graph.ints(0), keepdims=0)
    if mask is None:
        return graph.add("ReduceMean", states, graph.ints(0), keepdims=0)
    kept = graph.add("Where", mask, states, graph.constant(np.float32(0)))
    n_words = graph.add("Unsqueeze", graph.add("Cast", lengths, to=TensorProto.FLOAT), graph.ints(-1))
    return graph.add("Div", graph.add("ReduceSum", kept, graph.ints(0), keepdims=0), n_words)


class _Graph:
    """Collects the nodes and the constants of a graph; a value is known by its name."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def constant(self, value: Any) -> str:
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value).reshape(np.shape(value)), name))
        return name

    def ints(self, *values: int) -> str:
        """Returns a constant of one dimension: axes or a shape."""
        return self.constant(np.array(values, np.int64))

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Adds a node with one output; returns its name."""
        name = output or f"{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def add_several(self, operator: str, n_outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        """Adds a node with several outputs; returns their names."""
        names = [f"{operator.lower()}_{len(self._nodes)}_{index}" for index in range(n_outputs)]
        self._nodes.append(helper.make_node(operator, list(inputs), names, **attributes))
        return names

    def model(self, n_labels: int) -> onnx.ModelProto:
        tokens = helper.make_tensor_value_info(TOKENS, TensorProto.INT32, ["texts", "words"])
        result = helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["texts", n_labels])
        graph = helper.make_graph(self._nodes, "text_classifier", [tokens], [result], self._constants)
        opset = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(graph, producer_name="rnnexp", opset_imports=opset, ir_version=_IR_VERSION)
        onnx.checker.check_model(model, full_check=True)
        return model
