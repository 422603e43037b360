"""One search for faults reads each trial once, but not what has changed since."""

from pathlib import Path

import pytest

from rnnexp.health.studies import Observation
from rnnexp.storage.study_lock import hold_study_lock
from tests.study.fakes import FakeExecutor
from tests.study.small_study import Study


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


def _run(study: Study, n_trials: int) -> None:
    with hold_study_lock(study.home, "s"):
        study.run(FakeExecutor(), budget__trials=n_trials)


def test_a_study_that_ran_meanwhile_is_read_again(study: Study) -> None:
    _run(study, 1)
    observed = Observation(study.home)
    assert observed.idle() == ["s"]
    before = len(observed.trials("s")[0].events)
    assert len(observed.trials("s")) == 1
    _run(study, 3)
    assert observed.idle_folders() == ["s"]
    assert [len(snapshot.events) for snapshot in observed.idle_trials()] == [before] * 3


def test_a_study_that_was_started_meanwhile_is_left_out(study: Study) -> None:
    _run(study, 1)
    observed = Observation(study.home)
    assert [snapshot.number for snapshot in observed.idle_trials()] == [0]
    with hold_study_lock(study.home, "s"):
        assert observed.idle() == observed.idle_folders() == []
        assert list(observed.idle_trials()) == []
        assert [snapshot.number for snapshot in Observation(study.home, "s").idle_trials()] == [0]


def test_a_link_that_leads_out_of_the_home_excludes_its_trial(study: Study, tmp_path: Path) -> None:
    _run(study, 3)
    (tmp_path / "outside").mkdir()
    (study.home.study("s").trial(1).root / "link").symlink_to(tmp_path / "outside")
    (study.home.study("s").trial(2).root / "link").symlink_to(study.home.study("s").trial(0).root)
    observed = Observation(study.home)
    assert list(observed.links_out("s")) == [1]
    assert observed.numbers("s") == [0, 2]
    assert [snapshot.number for snapshot in observed.own_trials("s")] == [0, 2]
    assert [snapshot.number for snapshot in observed.trials("s")] == [0, 1, 2]
