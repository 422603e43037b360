"""Parts of the kernel, each by itself: what a change of one operator or constant would break unseen."""

import threading

import numpy as np
import pytest

from rnnexp.model.kernel import math, packing, recurrence, splits
from rnnexp.model.kernel.buffers import Buffers
from rnnexp.model.kernel.inputs import pack
from rnnexp.model.kernel.splits import RowSplits
from rnnexp.model.kernel.team import Team, ranges
from tests.model.test_splits import profile, words

_32, _64 = (1 << 32) - 1, (1 << 64) - 1


def murmur(number: int) -> int:
    """The final step of MurmurHash3 (Appleby), in Python's integers."""
    number = ((number ^ (number >> 16)) * 0x85EBCA6B) & _32
    number = ((number ^ (number >> 13)) * 0xC2B2AE35) & _32
    return number ^ (number >> 16)


def splitmix(number: int) -> int:
    """The final step of SplitMix64 (Steele et al. 2014)."""
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _64
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _64
    return number ^ (number >> 31)


def is_kept(seed: tuple[int, int], step: int, row: int, column: int, rate: float) -> bool:
    """Whether an entry of a word's vector is kept, as the docstrings of `packing` describe it."""
    of_step = splitmix((((seed[0] << 32) | seed[1]) + 0x9E3779B97F4A7C15) & _64)
    key = splitmix((of_step + step) & _64)
    start = murmur(murmur((row + key) & _32) ^ (key >> 32))
    return murmur((start + column * 0x9E3779B9) & _32) >= int(rate * 2**32)


def test_the_masks_of_dropout_are_those_of_the_published_hash_functions() -> None:
    """They must not change with a version: a trial that is repeated would give another result."""
    n_steps, n_texts, width, rate, seed = 7, 3, 11, 0.3, (5, 123_456_789)
    active = np.full(n_steps, n_texts, np.int64)
    first = np.arange(n_steps + 1, dtype=np.int64) * n_texts
    each = np.zeros(n_steps * n_texts, np.int32)
    vectors = np.empty((len(each), width), np.float32)
    table = np.ones((1, width), np.float32)
    order = np.array([2, 0, 1], np.int32)
    rows = np.zeros(1, np.int32)
    packing.look_up_dropped(
        table, rows, each, order, active, first, np.array(seed, np.uint32), rate, vectors, 0, n_steps
    )
    expected = np.array(
        [
            [is_kept(seed, step, int(row), column, rate) for column in range(width)]
            for step in range(n_steps)
            for row in order
        ]
    )
    np.testing.assert_array_equal(vectors != 0, expected)
    np.testing.assert_allclose(vectors[expected], 1 / (1 - rate), rtol=1e-6)


def test_tanh_is_accurate_also_where_it_is_one() -> None:
    x = np.concatenate([np.linspace(-30, 30, 20_001), [-1e30, 1e30]]).astype(np.float32)
    found = np.array([math.tanh(value) for value in x])
    np.testing.assert_allclose(found, np.tanh(x.astype(np.float64)), atol=2e-7)
    assert np.isnan(math.tanh(np.float32("nan")))


def test_vectors_are_packed_by_step_in_the_order_of_the_lengths() -> None:
    lengths = np.array([2, 3, 1])
    inputs = np.arange(3 * 3 * 2, dtype=np.float32).reshape(3, 3, 2)
    packed = pack(inputs, lengths, None, Buffers(), Team())
    assert packed.order.tolist() == [1, 0, 2]
    assert packed.active.tolist() == [3, 2, 1]
    expected = [inputs[text, step] for step, texts in enumerate(([1, 0, 2], [1, 0], [1])) for text in texts]
    np.testing.assert_array_equal(packed.vectors, expected)


def test_a_batch_is_divided_until_the_first_inexact_step_and_the_rest_is_not() -> None:
    made = RowSplits(2, 3)
    made._is_exact = lambda n_rows, cuts: n_rows != 40  # type: ignore[method-assign]
    active, first = profile([9] * 40 + [5] * 24)
    assert made._exact_steps(active, (32,)) == 5
    divided, rest = made.parts(active, first, threads=2)
    assert [(part.begin, part.end) for part in divided] == [(0, 5), (0, 5)]
    assert [(part.begin, part.end) for part in rest] == [(5, 9)]
    assert len([word for part in (*divided, *rest) for word in words(part)]) == 9 * 40 + 5 * 24


def test_cuts_divide_the_words_evenly() -> None:
    assert splits._cuts(profile([4] * 4)[0], 2, 1) == (2,)
    assert splits._cuts(profile([4] * 6)[0], 3, 1) == (2, 4)
    assert splits._cuts(profile([8, 4, 2, 1, 1])[0], 2, 1) == (1,)


def test_a_part_ends_with_its_last_text() -> None:
    active, first = profile([5, 4, 2])
    part = splits._part(active, first, slice(1, 3), 9)
    assert (part.begin, part.end, part.active.tolist()) == (0, 4, [2, 2, 1, 1, 0])


def test_ranges_are_as_many_as_asked_for() -> None:
    assert ranges(100, 4) == [slice(0, 25), slice(25, 50), slice(50, 75), slice(75, 100)]
    assert ranges(3, 3) == [slice(0, 1), slice(1, 2), slice(2, 3)]
    assert ranges(40, 4, multiple=16) == [slice(0, 16), slice(16, 32), slice(32, 40)]


def test_the_rows_of_a_large_product_are_divided_into_blocks() -> None:
    size, most = recurrence._BLOCK_ROWS, recurrence._MOST_BLOCKS
    assert recurrence._blocks(size - 1) == [slice(0, size - 1)]
    assert len(recurrence._blocks(2 * size)) == 2
    assert len(recurrence._blocks(100 * most * size)) == most


@pytest.mark.parametrize("size", [1, 3])
def test_threads_that_are_not_needed_any_more_end(size: int) -> None:
    assert Team().size == 1
    before = threading.active_count()
    team = Team(4)
    together = threading.Barrier(4)
    team.run(lambda part: together.wait(10), range(4))
    assert threading.active_count() == before + 3
    team.resize(size)
    assert threading.active_count() == before
    team.resize(1)
