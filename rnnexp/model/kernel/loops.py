"""The cells' equations, forward and back, a time step at a time; Numba compiles them.

Reviews are packed: step t's words are those from `first[t]` on, `active[t]` of them, and review b of the packed order
is the b-th of every step that it has. Arguments that several functions share:

    order         the batch's row of each review, longest first, (B,)
    places        whose row of `projected` each word reads, (N,)
    projected     the input's part of the gates, (R, G)
    recurrent     (H, G); `recurrent_t` is (G, H)
    gates         what a step's gates came to; going back leaves the gradients of the sums under them, (N, G)
    memory        what else the way back needs, (N, H)
    before        the state before each step, (N, H)
    last          the state after each review's last word, (B, H)
    states        all of them, in the batch's own order, (B, T, H), or (0, 0, 0) where nobody asks
    kept          where step t's rows of gates, memory and before are: `first`, or zeros where none need be kept
    gradient      of the last states, (B, H); is written over
    d_input       of `projected`; `summed` tells whether several places read one row of it
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

_FAST = {"contract", "reassoc", "nsz", "arcp"}
"""What the compiler may do to a sum; infinities and NaN stay what they are."""
_f = np.float32
_BOUND = _f(7.90531110763549805)
# NumPy's division: Python's looks for zeros, and no loop that divides is then computed eight or sixteen at a time.
jit: Callable[..., Any] = numba.njit(fastmath=_FAST, error_model="numpy", cache=True, nogil=True)
inline: Callable[..., Any] = numba.njit(fastmath=_FAST, error_model="numpy", inline="always")


@inline
def _tanh(x):
    """The rational approximation that Eigen, and so TensorFlow, uses: within a few units in the last place."""
    x = _BOUND if x > _BOUND else x  # not min and max, which would make a number of NaN
    x = -_BOUND if x < -_BOUND else x
    square = x * x
    p = _f(-2.76076847742355e-16)
    p = p * square + _f(2.00018790482477e-13)
    p = p * square + _f(-8.60467152213735e-11)
    p = p * square + _f(5.12229709037114e-08)
    p = p * square + _f(1.48572235717979e-05)
    p = p * square + _f(6.37261928875436e-04)
    p = p * square + _f(4.89352455891786e-03)
    q = _f(1.19825839466702e-06)
    q = q * square + _f(1.18534705686654e-04)
    q = q * square + _f(2.26843463243900e-03)
    q = q * square + _f(4.89352518554385e-03)
    return x * p / q


@inline
def add(into, values):
    """Adds row to row; NumPy's own `+=` on rows this short takes four times as long."""
    for j in range(len(into)):
        into[j] += values[j]


@inline
def copy(values, into):
    """Writes a row over another."""
    for j in range(len(into)):
        into[j] = values[j]


@inline
def _tanh_of_sum(x, u, out):
    """Few arrays in a loop: with more, the compiler cannot tell whether they overlap, and takes one number a time."""
    for j in range(len(out)):
        out[j] = _tanh(x[j] + u[j])


@inline
def _sigmoid_of_sum(x, u, out):
    for j in range(len(out)):
        out[j] = _f(0.5) * _tanh(_f(0.5) * (x[j] + u[j])) + _f(0.5)


@jit
def _simple_rnn_forward(
    active, first, kept, order, places, projected, recurrent, bias, gates, memory, before, last, states
):
    """h_t = tanh(x_t + h_{t-1} U). gates keeps h."""
    H = recurrent.shape[0]
    product = np.empty((active[0], H), np.float32)
    before[: active[0]] = _f(0)
    for t in range(len(active)):
        n, at = active[t], kept[t]
        following = active[t + 1] if t + 1 < len(active) else 0
        np.dot(before[at : at + n], recurrent, product[:n])
        for b in range(n):
            x, u, a = projected[places[first[t] + b]], product[b], gates[at + b]
            h = before[kept[t + 1] + b] if b < following else last[b]
            for j in range(H):
                value = _tanh(x[j] + u[j])
                a[j] = value
                h[j] = value
            if states.shape[0]:
                copy(h, states[order[b], t])


@jit
def _simple_rnn_backward(
    active, first, order, places, recurrent_t, gates, memory, before, gradient, d_states, d_input, summed
):
    """Leaves the gradient of each sum under the tanh in gates."""
    H = recurrent_t.shape[0]
    for t in range(len(active) - 1, -1, -1):
        n, at = active[t], first[t]
        for b in range(n):
            a, dh = gates[at + b], gradient[b]
            if d_states.shape[0]:
                add(dh, d_states[order[b], t])
            for j in range(H):
                a[j] = dh[j] * (_f(1) - a[j] * a[j])
            if summed:
                add(d_input[places[at + b]], a)
        np.dot(gates[at : at + n], recurrent_t, gradient[:n])


@jit
def _lstm_forward(active, first, kept, order, places, projected, recurrent, bias, gates, memory, before, last, states):
    """c_t = f c_{t-1} + i g and h_t = o tanh(c_t). gates keeps i, f, g, o; memory keeps c."""
    H = recurrent.shape[0]
    product = np.empty((active[0], 4 * H), np.float32)
    nothing = np.zeros(H, np.float32)
    before[: active[0]] = _f(0)
    for t in range(len(active)):
        n, at = active[t], kept[t]
        following = active[t + 1] if t + 1 < len(active) else 0
        np.dot(before[at : at + n], recurrent, product[:n])
        for b in range(n):
            x, u, a = projected[places[first[t] + b]], product[b], gates[at + b]
            c_before = memory[kept[t - 1] + b] if t else nothing
            c, h = memory[at + b], before[kept[t + 1] + b] if b < following else last[b]
            i, f, g, o = a[:H], a[H : 2 * H], a[2 * H : 3 * H], a[3 * H :]
            _sigmoid_of_sum(x, u, a[: 2 * H])
            _tanh_of_sum(x[2 * H :], u[2 * H :], g)
            _sigmoid_of_sum(x[3 * H :], u[3 * H :], o)
            for j in range(H):
                c[j] = f[j] * c_before[j] + i[j] * g[j]
            for j in range(H):
                h[j] = o[j] * _tanh(c[j])
            if states.shape[0]:
                copy(h, states[order[b], t])


@jit
def _lstm_backward(
    active, first, order, places, recurrent_t, gates, memory, before, gradient, d_states, d_input, summed
):
    """Leaves the gradients of the four sums under the gates in gates."""
    H = recurrent_t.shape[1]
    d_memory = np.zeros((active[0], H), np.float32)
    squashed, d = np.empty(H, np.float32), np.empty(H, np.float32)
    nothing = np.zeros(H, np.float32)
    for t in range(len(active) - 1, -1, -1):
        n, at = active[t], first[t]
        for b in range(n):
            a, c, dh, dc = gates[at + b], memory[at + b], gradient[b], d_memory[b]
            c_before = memory[first[t - 1] + b] if t else nothing
            if d_states.shape[0]:
                add(dh, d_states[order[b], t])
            i, f, g, o = a[:H], a[H : 2 * H], a[2 * H : 3 * H], a[3 * H :]
            for j in range(H):
                squashed[j] = _tanh(c[j])
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
                add(d_input[places[at + b]], a)
        np.dot(gates[at : at + n], recurrent_t, gradient[:n])


@jit
def _gru_forward(active, first, kept, order, places, projected, recurrent, bias, gates, memory, before, last, states):
    """h_t = z h_{t-1} + (1 - z) tanh(x + r (h_{t-1} U + b)). gates keeps z, r, tanh; memory keeps h_{t-1} U + b."""
    H = recurrent.shape[0]
    product, reset = np.empty((active[0], 3 * H), np.float32), np.empty(H, np.float32)
    before[: active[0]] = _f(0)
    for t in range(len(active)):
        n, at = active[t], kept[t]
        following = active[t + 1] if t + 1 < len(active) else 0
        np.dot(before[at : at + n], recurrent, product[:n])
        for b in range(n):
            x, u, a = projected[places[first[t] + b]], product[b], gates[at + b]
            m, h_before = memory[at + b], before[at + b]
            h = before[kept[t + 1] + b] if b < following else last[b]
            z, r, g = a[:H], a[H : 2 * H], a[2 * H :]
            add(u, bias)
            _sigmoid_of_sum(x, u, a[: 2 * H])
            copy(u[2 * H :], m)
            for j in range(H):
                reset[j] = r[j] * m[j]
            _tanh_of_sum(x[2 * H :], reset, g)
            for j in range(H):
                h[j] = z[j] * h_before[j] + (_f(1) - z[j]) * g[j]
            if states.shape[0]:
                copy(h, states[order[b], t])


@jit
def _gru_backward(
    active, first, order, places, recurrent_t, gates, memory, before, gradient, d_states, d_input, summed
):
    """Leaves the gradients of the three recurrent sums in gates; the input's differ in the last one."""
    H = recurrent_t.shape[1]
    product, d = np.empty((active[0], H), np.float32), np.empty(H, np.float32)
    for t in range(len(active) - 1, -1, -1):
        n, at = active[t], first[t]
        for b in range(n):
            a, m, h_before, dh = gates[at + b], memory[at + b], before[at + b], gradient[b]
            into = d_input[places[at + b]]
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
        np.dot(gates[at : at + n], recurrent_t, product[:n])
        for b in range(n):
            add(gradient[b], product[b])


LOOPS = {
    "simple_rnn": (_simple_rnn_forward, _simple_rnn_backward, 1, 0),
    "lstm": (_lstm_forward, _lstm_backward, 4, 1),
    "gru": (_gru_forward, _gru_backward, 3, 1),
}
"""By cell: both directions, gates, and whether something beside them is kept."""

CELLS = frozenset(LOOPS)
"""The cells that are compiled here; others run as their layer does."""
