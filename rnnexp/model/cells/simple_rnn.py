"""Elman's network: h_t = tanh(W x_t + U h_{t-1} + b). "Finding Structure in Time", Cognitive Science 1990."""

from typing import Any

import numpy as np

from rnnexp.model.cells import Cell, Loops, OnnxOperator
from rnnexp.model.kernel.math import add, copy, tanh, times_recurrent, times_transposed

_f = np.float32


def layer(units: int, recurrent_dropout: float, name: str) -> Any:
    """Returns Keras' layer."""
    import keras

    return keras.layers.SimpleRNN(units, recurrent_dropout=recurrent_dropout, return_sequences=True, name=name)


def forward(
    begin, end, active, first, kept, order, places, projected, recurrent, bias, gates, memory, before, last, states
):
    """h_t = tanh(x_t + h_{t-1} U). gates keeps h."""
    H = last.shape[1]
    product = np.empty((active[0], H), np.float32)
    if begin == 0:
        before[kept[0] : kept[0] + active[0]] = _f(0)
    for t in range(begin, end):
        n, at = active[t], kept[t]
        following = active[t + 1] if t + 1 < len(active) else 0
        times_recurrent(before[at : at + n], recurrent, product[:n])
        for b in range(n):
            x, u, a = projected[places[first[t] + b]], product[b], gates[at + b]
            h = before[kept[t + 1] + b] if b < following else last[b]
            for j in range(H):
                value = tanh(x[j] + u[j])
                a[j] = value
                h[j] = value
            if states.shape[0]:
                copy(h, states[order[b], t])


def backward(
    begin,
    end,
    active,
    first,
    order,
    places,
    recurrent_t,
    gates,
    memory,
    before,
    gradient,
    carried,
    d_states,
    d_projected,
    summed,
):
    """Leaves the gradient of each sum under the tanh in gates."""
    H = gradient.shape[1]
    for t in range(end - 1, begin - 1, -1):
        n, at = active[t], first[t]
        for b in range(n):
            a, dh = gates[at + b], gradient[b]
            if d_states.shape[0]:
                add(dh, d_states[order[b], t])
            for j in range(H):
                a[j] = dh[j] * (_f(1) - a[j] * a[j])
            if summed:
                add(d_projected[places[at + b]], a)
        times_transposed(gates[at : at + n], recurrent_t, gradient[:n])


CELL = Cell(
    title="SimpleRNN",
    layer=layer,
    n_gates=1,
    word_ns=0.0,
    unit_ns=1.73,
    loops=Loops(
        forward=forward,
        backward=backward,
        layer_settings={"activation": "tanh", "use_bias": True},
    ),
    onnx=OnnxOperator("RNN", gates=(0,)),
)
