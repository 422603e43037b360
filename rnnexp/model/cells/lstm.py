"""Long short-term memory with a forget gate. Hochreiter and Schmidhuber 1997; Gers 2000.

The bias of the forget gate starts at 1. Gates in the order of Keras' weights: i, f, c, o.
"""

from typing import Any

import numpy as np

from rnnexp.model.cells import Cell, Loops, OnnxOperator
from rnnexp.model.kernel.math import add, copy, sigmoid_of_sum, tanh, tanh_of_sum, times_recurrent, times_transposed

_f = np.float32


def layer(units: int, recurrent_dropout: float, name: str) -> Any:
    """Returns Keras' layer."""
    import keras

    return keras.layers.LSTM(units, recurrent_dropout=recurrent_dropout, return_sequences=True, name=name)


def forward(
    begin, end, active, first, kept, order, places, projected, recurrent, bias, gates, memory, before, last, states
):
    """c_t = f c_{t-1} + i g and h_t = o tanh(c_t). gates keeps i, f, g, o; memory keeps c."""
    H = last.shape[1]
    product = np.empty((active[0], 4 * H), np.float32)
    nothing = np.zeros(H, np.float32)
    if begin == 0:
        before[kept[0] : kept[0] + active[0]] = _f(0)
    for t in range(begin, end):
        n, at = active[t], kept[t]
        following = active[t + 1] if t + 1 < len(active) else 0
        times_recurrent(before[at : at + n], recurrent, product[:n])
        for b in range(n):
            x, u, a = projected[places[first[t] + b]], product[b], gates[at + b]
            c_before = memory[kept[t - 1] + b] if t else nothing
            c, h = memory[at + b], before[kept[t + 1] + b] if b < following else last[b]
            i, f, g, o = a[:H], a[H : 2 * H], a[2 * H : 3 * H], a[3 * H :]
            sigmoid_of_sum(x, u, a[: 2 * H])
            tanh_of_sum(x[2 * H :], u[2 * H :], g)
            sigmoid_of_sum(x[3 * H :], u[3 * H :], o)
            for j in range(H):
                c[j] = f[j] * c_before[j] + i[j] * g[j]
            for j in range(H):
                h[j] = o[j] * tanh(c[j])
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
    """Leaves the gradients of the four sums under the gates in gates. What is carried is the gradient of c."""
    H = gradient.shape[1]
    squashed, d = np.empty(H, np.float32), np.empty(H, np.float32)
    nothing = np.zeros(H, np.float32)
    for t in range(end - 1, begin - 1, -1):
        n, at = active[t], first[t]
        for b in range(n):
            a, c, dh, dc = gates[at + b], memory[at + b], gradient[b], carried[b]
            c_before = memory[first[t - 1] + b] if t else nothing
            if d_states.shape[0]:
                add(dh, d_states[order[b], t])
            i, f, g, o = a[:H], a[H : 2 * H], a[2 * H : 3 * H], a[3 * H :]
            for j in range(H):
                squashed[j] = tanh(c[j])
            for j in range(H):
                d[j] = dc[j] + dh[j] * o[j] * (_f(1) - squashed[j] * squashed[j])
            for j in range(H):
                o[j] = dh[j] * squashed[j] * o[j] * (_f(1) - o[j])
            for j in range(H):
                dc[j] = d[j] * f[j]
            for j in range(H):
                f[j] = d[j] * c_before[j] * f[j] * (_f(1) - f[j])
            for j in range(H):
                before_i = i[j]
                i[j] = d[j] * g[j] * before_i * (_f(1) - before_i)
                g[j] = d[j] * before_i * (_f(1) - g[j] * g[j])
            if summed:
                add(d_projected[places[at + b]], a)
        times_transposed(gates[at : at + n], recurrent_t, gradient[:n])


CELL = Cell(
    title="LSTM",
    layer=layer,
    n_gates=4,
    word_ns=209.0,
    unit_ns=5.17,
    loops=Loops(
        forward=forward,
        backward=backward,
        keeps_memory=True,
        layer_settings={"activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True},
    ),
    onnx=OnnxOperator("LSTM", gates=(0, 3, 1, 2)),
)
