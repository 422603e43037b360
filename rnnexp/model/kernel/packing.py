"""Packs the rows of a batch, unpacks them, and applies dropout to word vectors; compiled by Numba.

Packed words are in the order of steps: first the first words of all texts, then the second words, and so on.
"""

import numpy as np

from rnnexp.model.kernel.math import add, copy
from rnnexp.model.kernel.numba_compiler import inline, jit


@jit
def pack(tokens, order, active, packed):
    """Writes the word ids step by step, (B, T) → (N,)."""
    k = 0
    for t in range(len(active)):
        for b in range(active[t]):
            packed[k] = tokens[order[b], t]
            k += 1


@jit
def pack_rows(values, order, active, packed):
    """Writes the vectors step by step, (B, T, E) → (N, E)."""
    k = 0
    for t in range(len(active)):
        for b in range(active[t]):
            copy(values[order[b], t], packed[k])
            k += 1


@jit
def unpack_rows(packed, order, active, values):
    """Writes packed vectors back, (N, E) → (B, T, E). Entries past the end of a text are not changed."""
    k = 0
    for t in range(len(active)):
        for b in range(active[t]):
            copy(packed[k], values[order[b], t])
            k += 1


@inline
def _hash(number):
    """The final step of MurmurHash3: each of the 32 result bits depends on all bits of the number."""
    number = np.uint32(number ^ (number >> np.uint32(16)))
    number = np.uint32(number * np.uint32(0x85EBCA6B))
    number = np.uint32(number ^ (number >> np.uint32(13)))
    number = np.uint32(number * np.uint32(0xC2B2AE35))
    return np.uint32(number ^ (number >> np.uint32(16)))


@inline
def _mix(number):
    """The final step of SplitMix64: each of the 64 result bits depends on all bits of the number."""
    number = np.uint64(number ^ (number >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    number = np.uint64(number ^ (number >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.uint64(number ^ (number >> np.uint64(31)))


@inline
def _key_of_step(seed):
    """Returns the key of a training step from its seed: the number of the generator, and the number of the step.

    The key is hashed before the place of a word is added to it. If the number of the step were combined with the place
    directly, steps would have the same masks at other places.
    """
    return _mix((np.uint64(seed[0]) << np.uint64(32) | np.uint64(seed[1])) + np.uint64(0x9E3779B97F4A7C15))


@inline
def _drop(row, key, text, rate, begin, end, out):
    """Writes the entries from `begin` to `end` of a word's vector, with some of them zero and the others scaled.

    What is dropped depends on the key of its place in the texts and on the text's row in the batch, on nothing else.
    """
    threshold = np.uint32(rate * 4294967296.0)
    scale = np.float32(1.0 / (1.0 - rate))
    start = _hash(np.uint32(_hash(np.uint32(np.uint32(text) + np.uint32(key))) ^ np.uint32(key >> np.uint64(32))))
    for j in range(begin, end):
        random_bits = _hash(np.uint32(start + np.uint32(j) * np.uint32(0x9E3779B9)))
        out[j] = row[j] * (scale if random_bits >= threshold else np.float32(0))


@jit
def look_up_dropped(embedding, rows, words, order, active, first, seed, rate, vectors, begin, end):
    """Writes the vector of each word with dropout, (N, E), at the steps from `begin` to `end`."""
    key = _key_of_step(seed)
    for t in range(begin, end):
        key_of_place = _mix(key + np.uint64(t))
        for b in range(active[t]):
            k = first[t] + b
            _drop(embedding[rows[words[k]]], key_of_place, order[b], rate, 0, vectors.shape[1], vectors[k])


@jit
def add_dropped(d_vectors, words, order, active, seed, rate, d_rows, begin, end):
    """Adds up the gradients of each distinct word, with the dropout of the forward pass, (N, E) → (R, E).

    Only the entries from `begin` to `end` of each gradient are computed.
    """
    kept = np.empty(d_vectors.shape[1], np.float32)
    key = _key_of_step(seed)
    d_rows[:, begin:end] = np.float32(0)
    k = 0
    for t in range(len(active)):
        key_of_place = _mix(key + np.uint64(t))
        for b in range(active[t]):
            _drop(d_vectors[k], key_of_place, order[b], rate, begin, end, kept)
            add(d_rows[words[k]][begin:end], kept[begin:end])
            k += 1


@jit
def add_backwards(values, words, active, first, sums, begin, end):
    """Adds up the values of each distinct word, from the last step to the first, (N, G) → (R, G).

    This is the order in which the loops of the cells add up. Only the columns from `begin` to `end` are computed.
    """
    sums[:, begin:end] = np.float32(0)
    for t in range(len(active) - 1, -1, -1):
        for k in range(first[t], first[t] + active[t]):
            add(sums[words[k]][begin:end], values[k][begin:end])


@jit
def number_words(packed, number_of, distinct):
    """Replaces word ids by numbers in the order of appearance; returns how many distinct words there are.

    Args:
        packed: word ids, which are replaced, (N,).
        number_of: the number of each id, (V,); -1 for all before and after the call.
        distinct: gets the ids by number.
    """
    count = 0
    for k in range(len(packed)):
        token = packed[k]
        if number_of[token] < 0:
            number_of[token] = count
            distinct[count] = token
            count += 1
        packed[k] = number_of[token]
    for number in range(count):
        number_of[distinct[number]] = -1
    return count


@jit
def draw_masks(order, seed, rate, masks):
    """Writes what dropout multiplies the states with: for each text of `order` a row of zeros and scales."""
    key, ones = _mix(_key_of_step(seed)), np.ones(masks.shape[1], np.float32)
    for b in range(len(order)):
        _drop(ones, key, order[b], rate, 0, len(ones), masks[b])


@jit
def multiply(rows, weights, out):
    """Writes the product of two matrices, with the library that the loops of the cells use."""
    np.dot(rows, weights, out)
