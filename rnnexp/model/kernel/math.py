"""Row functions that the compiled loops of the cells share.

They are plain Python, so that importing a cell imports no Numba. `kernel.numba_compiler` makes them part of the loops
that call them.
"""

import numpy as np

_f = np.float32
_BOUND = _f(7.90531110763549805)


def tanh(x):
    """The rational approximation of Eigen and TensorFlow, accurate to a few units in the last place."""
    x = _BOUND if x > _BOUND else x  # `min` and `max` would turn NaN into a number
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


def add(into, values):
    """Adds one row to another. NumPy's `+=` takes four times as long on rows this short."""
    for j in range(len(into)):
        into[j] += values[j]


def copy(values, into):
    """Overwrites a row with another."""
    for j in range(len(into)):
        into[j] = values[j]


def tanh_of_sum(x, u, out):
    """Writes tanh(x + u).

    A loop over few arrays: with more, the compiler cannot exclude that they overlap, and computes one number at a time.
    """
    for j in range(len(out)):
        out[j] = tanh(x[j] + u[j])


def sigmoid_of_sum(x, u, out):
    """Writes the logistic function of x + u."""
    for j in range(len(out)):
        out[j] = _f(0.5) * tanh(_f(0.5) * (x[j] + u[j])) + _f(0.5)


def times_recurrent(states, recurrent, out):
    """Writes the product of states (n, H) and the recurrent kernel (H, G); each gate reads what its mask leaves.

    Args:
        states: of n texts.
        recurrent: the kernel, masks, and the kernel by gate, as `Loops` describes them.
        out: gets the product, (n, G).
    """
    masks, by_gate = recurrent[1], recurrent[2]
    if masks.shape[0] == 0:
        np.dot(states, recurrent[0], out)
    else:
        n, H = states.shape
        kept, product = np.empty((n, H), np.float32), np.empty((n, H), np.float32)
        for gate in range(len(by_gate)):
            for b in range(n):
                state, mask, row = states[b], masks[b, gate * H : (gate + 1) * H], kept[b]
                for j in range(H):
                    row[j] = state[j] * mask[j]
            np.dot(kept, by_gate[gate], product)
            for b in range(n):
                copy(product[b], out[b, gate * H : (gate + 1) * H])


def times_transposed(sums, recurrent, out):
    """Writes the product of gradients (n, G) and the transposed kernel (G, H), the reverse of `times_recurrent`."""
    masks, by_gate = recurrent[1], recurrent[2]
    if masks.shape[0] == 0:
        np.dot(sums, recurrent[0], out)
    else:
        n, H = out.shape
        of_gate, product = np.empty((n, H), np.float32), np.empty((n, H), np.float32)
        for b in range(n):
            for j in range(H):
                out[b, j] = _f(0)
        for gate in range(len(by_gate)):
            for b in range(n):
                copy(sums[b, gate * H : (gate + 1) * H], of_gate[b])
            np.dot(of_gate, by_gate[gate], product)
            for b in range(n):
                row, mask, into = product[b], masks[b, gate * H : (gate + 1) * H], out[b]
                for j in range(H):
                    into[j] += row[j] * mask[j]


CALLED = (times_recurrent, times_transposed)
"""The functions that the compiler does not insert: the loops around them would be slower."""

INLINED = (tanh, add, copy, tanh_of_sum, sigmoid_of_sum)
"""The functions that the compiler inserts into their callers."""
