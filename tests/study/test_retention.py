from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnexp.disk import WRITING
from rnnexp.home import TrialFolder
from rnnexp.study.retention import clean_up, evict, to_evict
from rnnexp.trial import events
from rnnexp.trial.events import Evicted


@pytest.mark.parametrize(
    ("maximize", "keep", "expected"),
    [(True, 2, {0, 3}), (True, 1, {0, 1, 3}), (False, 2, {1, 2}), (False, 3, {2}), (True, 4, set()), (True, 9, set())],
)
def test_the_best_few_stay(maximize: bool, keep: int, expected: set[int]) -> None:
    assert set(to_evict({0: 0.5, 1: 0.8, 2: 0.9, 3: 0.6}, maximize, keep, newest=None)) == expected


def test_the_newest_stays_too() -> None:
    assert set(to_evict({0: 0.5, 1: 0.8, 2: 0.9, 3: 0.1}, True, 2, newest=3)) == {0}


def test_among_equals_the_older_stay() -> None:
    values = {7: 0.5, 2: 0.5, 5: 0.5, 9: 0.5}
    assert sorted(to_evict(values, True, 2, newest=None)) == [7, 9]
    assert sorted(to_evict(values, False, 2, newest=None)) == [7, 9]


@settings(max_examples=50, deadline=None)
@given(
    values=st.dictionaries(st.integers(0, 30), st.sampled_from([0.1, 0.2, 0.3]) | st.floats(0, 1), max_size=12),
    maximize=st.booleans(),
    keep=st.integers(1, 5),
)
def test_nothing_that_goes_is_better_than_what_stays(values: dict[int, float], maximize: bool, keep: int) -> None:
    gone = set(to_evict(values, maximize, keep, newest=None))
    stay = set(values) - gone
    assert len(stay) == min(keep, len(values))
    sign = 1 if maximize else -1
    assert all(sign * values[one] <= sign * values[other] for one in gone for other in stay)


@pytest.fixture
def folder(tmp_path: Path) -> TrialFolder:
    folder = TrialFolder(tmp_path / "00004")
    folder.best.parent.mkdir(parents=True)
    for path in (folder.best, folder.held_out, folder.state, folder.config, folder.history):
        path.write_text("x", encoding="utf-8")
    return folder


def test_evicting_removes_the_model_and_says_so_once(folder: TrialFolder) -> None:
    assert evict(folder, 5.0)
    assert not folder.best.exists()
    assert not folder.held_out.exists()
    assert folder.config.exists()
    assert folder.history.exists()
    assert not evict(folder, 6.0)
    assert events.read(folder.events) == [Evicted(5.0)]


def test_evicting_works_where_only_the_model_is_left(folder: TrialFolder) -> None:
    folder.held_out.unlink()
    assert evict(folder, 5.0)


def test_states_of_ended_trials_are_dropped(folder: TrialFolder, tmp_path: Path) -> None:
    for each in (folder, TrialFolder(tmp_path / "never-ran")):
        clean_up(each, keep_model=True)
    assert not folder.state.exists()
    assert folder.best.exists()


def test_what_cannot_be_removed_is_no_reason_to_end_a_sweep(tmp_path: Path) -> None:
    folder = TrialFolder(tmp_path / "00004")
    folder.root.mkdir()
    folder.best.parent.write_text("a file where the folder would be", encoding="utf-8")
    folder.state.mkdir()
    clean_up(folder, keep_model=False)
    assert folder.state.is_dir()


def test_what_the_sender_is_writing_is_left_to_it(tmp_path: Path) -> None:
    """The sender's thread may be between writing beside and renaming; what it lost there, it reported as an outage."""
    folder = TrialFolder(tmp_path)
    folder.best.parent.mkdir()
    for path in (folder.tracking, folder.history, folder.curves, folder.state, folder.best):
        path.with_name(WRITING + path.name).write_text("half")
    clean_up(folder, keep_model=True)
    left = {path.name for path in tmp_path.rglob(f"{WRITING}*")}
    assert left == {WRITING + path.name for path in (folder.tracking, folder.history, folder.curves)}
