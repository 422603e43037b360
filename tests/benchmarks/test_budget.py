"""`make bench` ends within an hour: shares of time and reduced sizes."""

import math
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks import __main__ as command
from tests.benchmarks import scale
from tests.benchmarks.budget import MINUTES, MOST_MINUTES, UNLIMITED, TimeShare, share_s
from tests.benchmarks.harness import Options, interleaved
from tests.benchmarks.scale import Case, n_affordable, targets


class Clock:
    """A clock that the test advances."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_shares_of_all_benchmarks_fit_into_an_hour() -> None:
    assert sum(MINUTES.values()) <= MOST_MINUTES == 60
    assert share_s("rivals", 1) == 60 * MINUTES["rivals"]
    assert share_s("rivals", 3) == 3 * share_s("rivals", 1)
    assert share_s("accuracy", 1) == math.inf
    assert tuple(MINUTES) == command.BENCHMARKS


def test_a_number_of_steps_is_reduced_to_what_fits() -> None:
    clock = Clock()
    share = TimeShare(100.0, clock)
    assert share.n_steps(10_000, 0.01) == 10_000
    assert share.n_steps(10_001, 0.01) == 10_000
    clock.now = 40.0
    assert (share.used_s, share.left_s) == (40.0, 60.0)
    assert share.n_steps(10_000, 0.01, unit=500) == 6000
    assert share.n_steps(10_000, 0.0101, unit=500) == 5500
    assert share.allows(60.0)
    assert not share.allows(60.1)
    clock.now = 200.0
    assert share.n_steps(10_000, 0.01, unit=500) == 0
    assert UNLIMITED.n_steps(10_000, 1e9) == 10_000


def test_rounds_end_with_the_time_but_there_is_one() -> None:
    clock = Clock()

    def measure() -> float:
        clock.now += 10.0
        return 10.0

    assert interleaved(5, measure, measure) == [[10.0] * 5] * 2
    assert interleaved(5, measure, measure, share=TimeShare(50.0, clock)) == [[10.0] * 2] * 2
    assert interleaved(5, measure, share=TimeShare(0.0, clock)) == [[10.0]]


def options(state: Path, share: TimeShare = UNLIMITED) -> Options:
    return Options(state, rounds=1, quick=False, share=share)


def test_the_largest_study_is_reduced_to_the_time_that_is_left(tmp_path: Path) -> None:
    case = Case("random", 10_000)
    assert n_affordable(case, 0.07, options(tmp_path)) == 10_000
    # A tenth of the time is for the commands: 0.9 · 600 s / 0.07 s.
    assert n_affordable(case, 0.07, options(tmp_path, TimeShare(600.0, Clock()))) == 7500
    assert n_affordable(case, 0.07, options(tmp_path, TimeShare(30.0, Clock()))) == 0


@pytest.fixture
def studies(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Case, int]]:
    """Returns the studies that are run, with their sizes; they and the commands take no time."""
    run: list[tuple[Case, int]] = []

    def costs(root: Path, case: Case, n_trials: int) -> dict[str, float]:
        run.append((case, n_trials))
        return {"whole": 0.07}

    def row(root: Path, case: Case, costs: dict[str, float], n_rounds: int) -> dict[str, Any]:
        return {"sampler": case.sampler, "trials": run[-1][1], "whole, ms": 70.0, "trials, s": 1.0, "doctor, s": 20.0}

    monkeypatch.setattr(scale, "_costs", costs)
    monkeypatch.setattr(scale, "_row", row)
    return run


def test_scale_runs_the_large_study_with_the_random_sampler_only(
    studies: list[tuple[Case, int]], tmp_path: Path
) -> None:
    result = scale.run(options(tmp_path))
    assert studies[-1] == (Case("random", 10_000), 10_000)
    assert max(n for case, n in studies if case.sampler == "tpe") == 1000
    assert [target.met for target in result.targets] == [True, True, False]
    assert "10,000 trials: `doctor`" in result.targets[-1].name


def test_a_reduced_study_is_named_below_the_table(studies: list[tuple[Case, int]], tmp_path: Path) -> None:
    result = scale.run(options(tmp_path, TimeShare(600.0, Clock())))
    assert studies[-1] == (Case("random", 10_000), 7500)
    assert "random, 10,000 trials: reduced to 7,500 trials, because the benchmark may take 10 minutes" in result.notes
    assert "random, 7,500 trials" in result.targets[0].name
    studies.clear()
    result = scale.run(options(tmp_path, TimeShare(0.0, Clock())))
    assert [case for case, _ in studies] == [Case("random", 100), Case("tpe", 100)]
    assert any("random, 10,000 trials: left out" in note for note in result.notes)


def test_studies_of_another_program_are_measured_again(
    studies: list[tuple[Case, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scale.run(options(tmp_path))
    stored = tmp_path / "scale" / "random-100" / "process.json"
    stored.parent.mkdir()
    stored.write_text("{}")
    scale.run(options(tmp_path))
    assert stored.exists()
    monkeypatch.setattr(scale, "program_digest", lambda: "another")
    scale.run(options(tmp_path))
    assert not stored.exists()


def test_growth_compares_the_largest_with_the_smallest_study_of_the_random_sampler() -> None:
    rows = [
        {"sampler": sampler, "trials": trials, "whole, ms": cost, "trials, s": 1.0, "doctor, s": 2.0}
        for sampler, trials, cost in (
            ("random", 100, 50.0),
            ("tpe", 100, 1.0),
            ("random", 1000, 60.0),
            ("tpe", 1000, 9e9),
        )
    ]
    assert [target.value for target in targets(rows)] == [1.2, 1.0, 2.0]
    assert targets(rows[:1])[0].value == 1.0
