"""A batch is divided only where the product of its rows keeps its bits."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnexp.model.kernel import splits
from rnnexp.model.kernel.splits import Part, RowSplits


def profile(lengths: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the active texts at each step, and the first row of each step."""
    active = np.array([sum(length > t for length in lengths) for t in range(max(lengths))], np.int64)
    return active, np.concatenate([[0], np.cumsum(active)]).astype(np.int64)


def words(part: Part) -> list[tuple[int, int]]:
    """Returns the step and the packed row of each word of a part."""
    return [(t, int(part.first[t]) + b) for t in range(part.begin, part.end) for b in range(part.active[t])]


@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=90),
    st.integers(1, 5),
    st.sets(st.integers(1, 90)),
)
def test_each_word_is_in_one_part_and_no_inexact_step_is_divided(
    lengths: list[int], threads: int, inexact: set[int]
) -> None:
    made = RowSplits(2, 3)
    made._is_exact = lambda n_rows, cuts: n_rows not in inexact  # type: ignore[method-assign]
    active, first = profile(lengths)
    groups = made.parts(active, first, threads)
    found = [word for group in groups for part in group for word in words(part)]
    assert sorted(found) == [(t, int(first[t]) + b) for t in range(len(active)) for b in range(active[t])]
    assert len(groups) <= 2
    assert all(part.end == len(active) for part in groups[-1]) or len(groups[-1]) > 1
    if len(lengths) not in inexact and len(groups[0]) > 1:
        divided_steps = max(part.end for part in groups[0])
        assert not inexact & set(active[:divided_steps].tolist())


def test_one_thread_divides_nothing() -> None:
    (group,) = RowSplits(8, 8).parts(*profile([9] * 64), threads=1)
    assert [(part.texts, part.begin, part.end) for part in group] == [(slice(0, 64), 0, 9)]


def test_a_batch_that_cannot_be_divided_exactly_is_always_divided_in_the_same_way() -> None:
    made = RowSplits(8, 8)
    made._is_exact = lambda n_rows, cuts: False  # type: ignore[method-assign]
    for threads in (1, 2, 7):
        (group,) = made.parts(*profile([5] * 20 + [3] * 44), threads)
        assert [(part.texts, part.begin, part.end) for part in group] == [(slice(0, 32), 0, 5), (slice(32, 64), 0, 3)]
        ((whole,),) = made.parts(*profile([5] * 7), threads)
        assert (whole.texts, whole.begin, whole.end) == (slice(0, 7), 0, 5), "a few texts"


def test_the_parts_have_nearly_the_same_number_of_words() -> None:
    made = RowSplits(8, 8)
    made._is_exact = lambda n_rows, cuts: True  # type: ignore[method-assign]
    (group,) = made.parts(*profile([40] * 16 + [10] * 64), threads=2)
    assert [part.texts for part in group] == [slice(0, 16), slice(16, 80)]
    assert [len(words(part)) for part in group] == [640, 640]


@pytest.mark.parametrize("multiple", splits._MULTIPLES)
def test_a_library_that_computes_few_rows_in_another_way_is_found_out(
    monkeypatch: pytest.MonkeyPatch, multiple: int
) -> None:
    def multiply(rows: np.ndarray, weights: np.ndarray, out: np.ndarray) -> None:
        exact = rows.astype(np.float64) @ weights
        out[:] = exact if len(rows) >= 20 else np.nextafter(exact.astype(np.float32), np.float32(9))

    monkeypatch.setattr(splits, "multiply", multiply)
    made, cut = RowSplits(6, 4), 2 * multiple
    assert made._is_exact(cut, (cut,)), "nothing is cut"
    assert not made._is_exact(cut + 19, (cut,))
    assert made._is_exact(cut + 20, (cut,))
