"""Which contestants of `rivals` and `accuracy` are run: those that are chosen, once each, as far as there is time."""

from pathlib import Path

import pytest

from tests.benchmarks import accuracy, rivals
from tests.benchmarks.budget import UNLIMITED, TimeShare
from tests.benchmarks.harness import Options, UnavailableError
from tests.benchmarks.rivals import StoredRun, contestants, may_run, names
from tests.benchmarks.rivals.contestants import Contestant, RunResult, trained_differently
from tests.benchmarks.rivals.task import Task

ALL = (names.PLAIN, names.PLAIN_BY_LENGTH, names.KERAS_TUNER, names.RAY, names.RAY_REUSED, names.RNNEXP)


class Contestants:
    """Every contestant takes a given time on a clock; records who was run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, data: Path) -> None:
        self.now = 0.0
        self.run: list[str] = []
        installed = {name: self._contestant(name) for name in ALL}
        monkeypatch.setattr(contestants, "find_installed", lambda: (installed, ["ray 2.60"]))
        differently = {name: self._contestant(name) for name in trained_differently()}
        monkeypatch.setattr(contestants, "trained_differently", lambda: differently)
        monkeypatch.setenv("RNNEXP_DATA", str(data))

    def _contestant(self, name: str) -> Contestant:
        def run(task: Task) -> RunResult:
            self.now += 100.0
            self.run.append(name)
            return RunResult(100.0 / (8.0 if name == names.RNNEXP else 1.0), [0.8] * 8, {})

        return run


def test_one_round_runs_every_contestant_once_and_a_second_start_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stand_in = Contestants(monkeypatch, tmp_path)
    result = rivals.run(Options(tmp_path, rounds=1, quick=False))
    assert stand_in.run == [*ALL]
    assert [target.bound for target in result.targets] == [7.0, 6.0]
    assert [target.value for target in result.targets] == [8.0, 8.0]
    assert "ray 2.60" in result.notes
    rivals.run(Options(tmp_path, rounds=1, quick=False))
    assert len(stand_in.run) == len(ALL)
    rivals.run(Options(tmp_path, rounds=2, quick=False))
    assert len(stand_in.run) == 2 * len(ALL)
    monkeypatch.setattr(rivals, "program_digest", lambda: "another")
    notes = rivals.run(Options(tmp_path, rounds=1, quick=False)).notes
    assert len(stand_in.run) == 3 * len(ALL)
    assert "12 stored runs are not used, because the program has changed since" in notes


def test_contestants_without_target_are_left_out_when_time_is_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stand_in = Contestants(monkeypatch, tmp_path)
    share = TimeShare(450.0, lambda: stand_in.now)
    result = rivals.run(Options(tmp_path, rounds=1, quick=False, share=share))
    # After the plain loop and one more, 250 s are left: enough for the two with targets, not for a third.
    assert stand_in.run == [names.PLAIN, names.PLAIN_BY_LENGTH, names.RAY, names.RNNEXP]
    assert [row["contestant"] for row in result.rows] == stand_in.run
    left_out = f"{names.KERAS_TUNER} in round 1, {names.RAY_REUSED} in round 1"
    assert any(note.endswith(left_out) for note in result.notes)
    assert len(result.targets) == 2


def test_a_ratio_is_of_the_rounds_that_both_have() -> None:
    def line(name: str, round_number: int, seconds: float) -> StoredRun:
        return {"contestant": name, "round": round_number, "seconds": seconds, "mean": 0.8}

    used = [line(names.PLAIN, 0, 100.0), line(names.PLAIN, 1, 300.0), line(names.RNNEXP, 1, 30.0)]
    result = rivals.compare(used, [names.PLAIN, names.RNNEXP], [])
    assert result.rows[1]["times as fast as the plain loop"] == 10.0


def test_the_contestants_of_the_targets_always_run() -> None:
    none_left = TimeShare(0.0)
    assert all(may_run(name, [], [50.0], none_left) for name in rivals.OF_TARGETS)
    assert not may_run(names.KERAS_TUNER, [], [50.0], none_left)
    assert may_run(names.KERAS_TUNER, [*rivals.OF_TARGETS], [50.0], UNLIMITED)


def test_accuracy_runs_only_the_chosen_contestants(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in = Contestants(monkeypatch, tmp_path)
    options = Options(tmp_path, rounds=1, quick=False, seeds=8, contestants=("whole-gradients", "plain"))
    result = accuracy.run(options)
    assert sorted(set(stand_in.run)) == [names.PLAIN, names.PLAIN_WHOLE]
    assert len(stand_in.run) == 16
    assert len(result.rows) == 2 * 3
    assert not result.targets, "rnnexp is not judged"


def test_contestants_are_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    available = dict.fromkeys(ALL, 0)
    assert names.choose(available, (), "rivals") == available
    assert list(names.choose(available, ("ray", "plain"), "rivals")) == [names.PLAIN, names.RAY]
    with pytest.raises(SystemExit, match="rivals has no whole-gradients here; expected some of plain, by-length"):
        names.choose(available, ("plain", "whole-gradients"), "rivals")
    with pytest.raises(SystemExit, match="add plain; accuracy compares the others with it"):
        names.choose(available, ("rnnexp",), "accuracy")
    monkeypatch.delenv("RNNEXP_DATA", raising=False)
    with pytest.raises(UnavailableError, match="RNNEXP_DATA is not set"):
        rivals.run(Options(tmp_path, rounds=1, quick=False))
