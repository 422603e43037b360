"""The gated recurrent unit with the reset gate after the product, as in cuDNN. Cho et al., EMNLP 2014.

Gates in the order of Keras' weights: z, r, h. The bias has two rows: one for the input, one for the recurrent sums.
"""

from typing import Any

import numpy as np

from rnnexp.model.cells import Cell, Loops, OnnxOperator
from rnnexp.model.kernel.math import add, copy, sigmoid_of_sum, tanh_of_sum, times_recurrent, times_transposed

_f = np.float32


def layer(units: int, recurrent_dropout: float, name: str) -> Any:
    """Returns Keras' layer."""
    import keras

    return keras.layers.GRU(units, recurrent_dropout=recurrent_dropout, return_sequences=True, name=name)


def forward(
    begin, end, active, first, kept, order, places, projected, recurrent, bias, gates, memory, before, last, states
):
    """h_t = z h_{t-1} + (1 - z) tanh(x + r (h_{t-1} U + b)). gates keeps z, r, tanh; memory keeps h_{t-1} U + b."""
    H = last.shape[1]
    product, reset = np.empty((active[0], 3 * H), np.float32), np.empty(H, np.float32)
    if begin == 0:
        before[kept[0] : kept[0] + active[0]] = _f(0)
    for t in range(begin, end):
        n, at = active[t], kept[t]
        following = active[t + 1] if t + 1 < len(active) else 0
        times_recurrent(before[at : at + n], recurrent, product[:n])
        for b in range(n):
            x, u, a = projected[places[first[t] + b]], product[b], gates[at + b]
            m, h_before = memory[at + b], before[at + b]
            h = before[kept[t + 1] + b] if b < following else last[b]
            z, r, g = a[:H], a[H : 2 * H], a[2 * H :]
            add(u, bias)
            sigmoid_of_sum(x, u, a[: 2 * H])
            copy(u[2 * H :], m)
            for j in range(H):
                reset[j] = r[j] * m[j]
            tanh_of_sum(x[2 * H :], reset, g)
            for j in range(H):
                h[j] = z[j] * h_before[j] + (_f(1) - z[j]) * g[j]
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
    """Leaves the gradients of the three recurrent sums in gates; the input's differ in the last one."""
    H = gradient.shape[1]
    product, d = np.empty((active[0], H), np.float32), np.empty(H, np.float32)
    for t in range(end - 1, begin - 1, -1):
        n, at = active[t], first[t]
        for b in range(n):
            a, m, h_before, dh = gates[at + b], memory[at + b], before[at + b], gradient[b]
            into = d_projected[places[at + b]]
            if d_states.shape[0]:
                add(dh, d_states[order[b], t])
            if not summed:
                for j in range(3 * H):
                    into[j] = _f(0)
            z, r, g = a[:H], a[H : 2 * H], a[2 * H :]
            for j in range(H):
                d[j] = dh[j] * (h_before[j] - g[j]) * z[j] * (_f(1) - z[j])
            for j in range(H):
                g[j] = dh[j] * (_f(1) - z[j]) * (_f(1) - g[j] * g[j])
            for j in range(H):
                dh[j] = dh[j] * z[j]
            copy(d, z)
            copy(r, d)
            for j in range(H):
                r[j] = g[j] * m[j] * r[j] * (_f(1) - r[j])
            add(into, a)
            for j in range(H):
                g[j] = g[j] * d[j]
        times_transposed(gates[at : at + n], recurrent_t, product[:n])
        for b in range(n):
            add(gradient[b], product[b])


CELL = Cell(
    title="GRU",
    layer=layer,
    n_gates=3,
    bias_rows=2,
    word_ns=209.0,
    unit_ns=4.7,
    loops=Loops(
        forward=forward,
        backward=backward,
        keeps_memory=True,
        separate_input_gradients=True,
        layer_settings={
            "activation": "tanh",
            "recurrent_activation": "sigmoid",
            "use_bias": True,
            "reset_after": True,
        },
    ),
    onnx=OnnxOperator("GRU", gates=(0, 1, 2), attributes={"linear_before_reset": 1}),
)
