"""Threads that share parts of a computation, and the division of ranges."""

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnnexp.model.kernel.team import Team, ranges


@pytest.mark.parametrize("size", [1, 2, 5])
def test_each_part_is_computed_once(size: int) -> None:
    team, lock = Team(size), threading.Lock()
    for n_parts in (1, 3, 40):
        seen: list[int] = []

        def call(part: int, seen: list[int] = seen) -> None:
            with lock:
                seen.append(part)

        team.run(call, range(n_parts))
        assert sorted(seen) == list(range(n_parts))


def test_as_many_threads_as_its_size_work_at_the_same_time() -> None:
    team = Team()
    for size in (3, 2, 4):
        team.resize(size)
        assert team.size == size
        together = threading.Barrier(size)
        team.run(lambda part, together=together: together.wait(10), range(size))  # type: ignore[misc]


@pytest.mark.parametrize("failing", [0, 3])
def test_the_exception_of_a_part_is_raised_after_all_parts_have_ended(failing: int) -> None:
    team, ended = Team(2), []

    def call(part: int) -> None:
        if part == failing:
            raise ValueError(f"part {part}")
        ended.append(part)

    with pytest.raises(ValueError, match=f"part {failing}"):
        team.run(call, range(4))
    assert len(ended) == len(set(ended))
    team.run(ended.append, [7, 8])
    assert sorted(ended)[-2:] == [7, 8], "the team works on"


@given(st.integers(0, 500), st.integers(1, 12), st.integers(1, 20))
def test_ranges_cover_all_numbers_once(total: int, count: int, multiple: int) -> None:
    found = ranges(total, count, multiple)
    assert [number for part in found for number in range(part.start, part.stop)] == list(range(total))
    assert 1 <= len(found) <= count
    assert all((part.stop - part.start) % multiple == 0 for part in found[:-1])
    assert all(part.stop > part.start for part in found) or total == 0
