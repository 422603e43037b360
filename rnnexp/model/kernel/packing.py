"""From a batch's rows to packed words and back, and which entries of their vectors are dropped; Numba compiles it."""

import numpy as np

from rnnexp.model.kernel.loops import add, copy, inline, jit


@jit
def pack(tokens, order, active, packed):
    """Writes the words step by step, (B, T) → (N,)."""
    k = 0
    for t in range(len(active)):
        for b in range(active[t]):
            packed[k] = tokens[order[b], t]
            k += 1


@jit
def pack_rows(values, order, active, packed):
    """Writes vectors step by step, (B, T, E) → (N, E)."""
    k = 0
    for t in range(len(active)):
        for b in range(active[t]):
            copy(values[order[b], t], packed[k])
            k += 1


@jit
def unpack_rows(packed, order, active, values):
    """The way back; what is past a review's end is left as it is."""
    k = 0
    for t in range(len(active)):
        for b in range(active[t]):
            copy(packed[k], values[order[b], t])
            k += 1


@inline
def _mixed(number):
    """MurmurHash3's last step: 32 bits, each of which depends on all."""
    number = np.uint32(number ^ (number >> np.uint32(16)))
    number = np.uint32(number * np.uint32(0x85EBCA6B))
    number = np.uint32(number ^ (number >> np.uint32(13)))
    number = np.uint32(number * np.uint32(0xC2B2AE35))
    return np.uint32(number ^ (number >> np.uint32(16)))


@inline
def _drop(row, seed, k, rate, out):
    """Drops entries of the k-th word's vector and scales the others; the same ones for the same seed."""
    least = np.uint32(rate * 4294967296.0)
    scale = np.float32(1.0 / (1.0 - rate))
    start = _mixed(np.uint32(seed[0] ^ _mixed(np.uint32(k ^ seed[1]))))
    for j in range(len(row)):
        drawn = _mixed(np.uint32(start + np.uint32(j) * np.uint32(0x9E3779B9)))
        out[j] = row[j] * (scale if drawn >= least else np.float32(0))


@jit
def look_up_dropped(embedding, rows, words, seed, rate, vectors):
    """Writes each word's vector with entries dropped, (N, E)."""
    for k in range(len(words)):
        _drop(embedding[rows[words[k]]], seed, k, rate, vectors[k])


@jit
def add_dropped(d_vectors, words, seed, rate, d_rows):
    """Adds the gradients of a word's places, as far as they were not dropped, (N, E) → (R, E)."""
    kept = np.empty(d_vectors.shape[1], np.float32)
    for k in range(len(words)):
        _drop(d_vectors[k], seed, k, rate, kept)
        add(d_rows[words[k]], kept)


@jit
def distinct(packed, place, distinct):
    """Numbers the words in order of appearance; returns how many are distinct.

    packed (N,) holds ids, and then each word's number; place (V,) is all -1 before and after.
    """
    count = 0
    for k in range(len(packed)):
        token = packed[k]
        if place[token] < 0:
            place[token] = count
            distinct[count] = token
            count += 1
        packed[k] = place[token]
    for number in range(count):
        place[distinct[number]] = -1
    return count
