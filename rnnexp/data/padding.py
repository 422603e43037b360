"""Pads the texts of a batch to one length."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rnnexp.data.text import PAD


def pad(
    sequences: Sequence[NDArray[np.int32]], padding: str, maxlen: int, bucket_lengths: Sequence[int]
) -> NDArray[np.int32]:
    """Pads texts to one length and returns them as one array, shape (B, T).

    Args:
        sequences: the ids of each text, shape (n,), with n at most `maxlen`.
        padding: `bucketed` puts zeros after each text, `fixed` before it.
        maxlen: the length T if padding is fixed.
        bucket_lengths: the allowed lengths T if padding is bucketed, ascending; the smallest sufficient one is used.
    """
    longest = max(len(sequence) for sequence in sequences)
    length = maxlen if padding == "fixed" else next(bucket for bucket in bucket_lengths if bucket >= longest)
    tokens = np.full((len(sequences), length), PAD, dtype=np.int32)
    for row, sequence in enumerate(sequences):
        if padding == "fixed":
            tokens[row, length - len(sequence) :] = sequence
        else:
            tokens[row, : len(sequence)] = sequence
    return tokens


def bucket_lengths(maxlen: int, n_buckets: int = 24) -> tuple[int, ...]:
    """Returns at most `n_buckets` evenly spaced lengths; the last one is `maxlen`."""
    step = -(-maxlen // n_buckets)
    return tuple(sorted({min(length, maxlen) for length in range(step, maxlen + step, step)}))
