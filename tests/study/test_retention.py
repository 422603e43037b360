import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnexp.disk import WRITING
from rnnexp.home import TrialFolder
from rnnexp.storage.ranking import Ranking
from rnnexp.study.retention import Retention, clean_up, evict, exporting, to_evict
from rnnexp.trial import events
from rnnexp.trial.events import Evicted


def ranked(values: dict[int, float], *, maximize: bool = True) -> list[int]:
    ranking = Ranking([{"metric": "val_loss", "direction": "maximize" if maximize else "minimize"}], {})
    return ranking.order({number: ranking.score(value, {}) for number, value in values.items()})


@pytest.mark.parametrize(
    ("maximize", "keep", "expected"),
    [(True, 2, {0, 3}), (True, 1, {0, 1, 3}), (False, 2, {1, 2}), (False, 3, {2}), (True, 4, set()), (True, 9, set())],
)
def test_the_best_few_are_kept(maximize: bool, keep: int, expected: set[int]) -> None:
    values = {0: 0.5, 1: 0.8, 2: 0.9, 3: 0.6}
    assert set(to_evict(ranked(values, maximize=maximize), keep)) == expected


def test_the_newest_is_kept() -> None:
    assert set(to_evict([2, 1, 0, 3], 2, {3})) == {0}


def test_the_older_of_equal_trials_are_kept() -> None:
    values = {7: 0.5, 2: 0.5, 5: 0.5, 9: 0.5}
    assert sorted(to_evict(ranked(values), 2)) == [7, 9]
    assert sorted(to_evict(ranked(values, maximize=False), 2)) == [7, 9]


@settings(max_examples=50, deadline=None)
@given(
    values=st.dictionaries(st.integers(0, 30), st.sampled_from([0.1, 0.2, 0.3]) | st.floats(0, 1), max_size=12),
    maximize=st.booleans(),
    keep=st.integers(1, 5),
)
def test_no_evicted_trial_is_better_than_a_kept_one(values: dict[int, float], maximize: bool, keep: int) -> None:
    evicted = set(to_evict(ranked(values, maximize=maximize), keep))
    kept = set(values) - evicted
    assert len(kept) == min(keep, len(values))
    sign = 1 if maximize else -1
    assert all(sign * values[one] <= sign * values[other] for one in evicted for other in kept)


def test_a_discarded_trial_is_not_selected_again() -> None:
    ranking = Ranking([{"metric": "val_loss", "direction": "minimize"}], {})
    retention = Retention(ranking, n_best=1)
    for number, value in enumerate((0.5, 0.3, 0.4)):
        retention.add(number, ranking.score(value, {}))
        retention.newest = number
    assert retention.to_evict() == [0], "trial 1 is the best, trial 2 is the newest"
    retention.discard(0)
    assert retention.to_evict() == []
    retention.newest = None
    assert retention.to_evict() == [2]


@pytest.fixture
def folder(tmp_path: Path) -> TrialFolder:
    folder = TrialFolder(tmp_path / "00004")
    folder.best.parent.mkdir(parents=True)
    for path in (folder.best, folder.held_out, folder.state, folder.config, folder.history):
        path.write_text("x", encoding="utf-8")
    return folder


def test_an_eviction_removes_the_model_and_is_recorded_once(folder: TrialFolder) -> None:
    assert evict(folder, 5.0)
    assert not folder.best.exists()
    assert not folder.held_out.exists()
    assert folder.config.exists()
    assert folder.history.exists()
    assert not evict(folder, 6.0)
    assert events.read(folder.events) == [Evicted(5.0)]


def test_an_eviction_works_without_held_out_probabilities(folder: TrialFolder) -> None:
    folder.held_out.unlink()
    assert evict(folder, 5.0)


def test_the_mid_trial_checkpoint_of_a_finished_trial_is_removed(folder: TrialFolder, tmp_path: Path) -> None:
    for each in (folder, TrialFolder(tmp_path / "never-ran")):
        clean_up(each, keep_model=True)
    assert not folder.state.exists()
    assert folder.best.exists()


def test_a_file_that_cannot_be_removed_does_not_end_the_sweep(tmp_path: Path) -> None:
    folder = TrialFolder(tmp_path / "00004")
    folder.root.mkdir()
    folder.best.parent.write_text("a file where the folder should be", encoding="utf-8")
    folder.state.mkdir()
    clean_up(folder, keep_model=False)
    assert folder.state.is_dir()


def test_the_files_that_the_sender_is_writing_are_not_removed(tmp_path: Path) -> None:
    """The sender's thread may be between writing a temporary file and renaming it."""
    folder = TrialFolder(tmp_path)
    folder.best.parent.mkdir()
    for path in (folder.tracking, folder.history, folder.curves, folder.state, folder.best):
        path.with_name(WRITING + path.name).write_text("half")
    clean_up(folder, keep_model=True)
    left = {path.name for path in tmp_path.rglob(f"{WRITING}*")}
    assert left == {WRITING + path.name for path in (folder.tracking, folder.history, folder.curves)}


def test_a_model_is_not_removed_during_its_export(folder: TrialFolder) -> None:
    with exporting(folder):
        assert not evict(folder, 5.0)
    assert not evict(folder, 6.0)
    assert folder.best.exists()


def test_an_export_that_fails_beside_another_one_leaves_its_mark(folder: TrialFolder) -> None:
    with exporting(folder):
        with pytest.raises(ValueError), exporting(folder):
            raise ValueError
        folder.exported.unlink()  # as if the export that fails had been the first one
    assert folder.exported.exists()


def test_an_interrupted_eviction_is_completed_unless_the_model_was_exported(folder: TrialFolder) -> None:
    events.append(folder.events, Evicted(5.0))
    folder.exported.touch()
    clean_up(folder, keep_model=True)
    assert folder.best.exists()
    folder.exported.unlink()
    clean_up(folder, keep_model=True)
    assert not folder.best.exists()
    assert not folder.held_out.exists()


def test_an_export_sees_a_whole_model_or_none(folder: TrialFolder) -> None:
    """A running sweep removes the model at the same time, many times."""
    failures: list[int] = []
    for number in range(200):
        folder.events.unlink(missing_ok=True)
        folder.exported.unlink(missing_ok=True)
        for path in (folder.best, folder.held_out):
            path.write_text("x", encoding="utf-8")
        sweep = threading.Thread(target=evict, args=(folder, 5.0))
        sweep.start()
        with exporting(folder):
            found = folder.best.exists()
            sweep.join()
            if (folder.best.exists(), folder.held_out.exists()) != (found, found):
                failures.append(number)
    assert not failures
