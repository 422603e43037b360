"""A run of all benchmarks: it is continued after an interruption, and its summary has the time of each benchmark."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.benchmarks import __main__ as command
from tests.benchmarks.budget import MINUTES, share_s
from tests.benchmarks.harness import Options, Result, Target, UnavailableError
from tests.benchmarks.whole_run import Done, Progress, summary


class Benchmarks:
    """Stands in for the modules of the benchmarks: records which are run."""

    def __init__(self) -> None:
        self.run: list[str] = []
        self.interrupted_at = ""
        self.unavailable = ""

    def import_module(self, name: str) -> Any:
        def run(options: Options) -> Result:
            benchmark = name.rpartition(".")[2]
            self.run.append(benchmark)
            if benchmark == self.interrupted_at:
                raise KeyboardInterrupt
            if benchmark == self.unavailable:
                raise UnavailableError("no data")
            return Result(benchmark, f"Title of {benchmark}", [{"a": 1}], [Target("figure", 1.0, 2.0)])

        return SimpleNamespace(run=run)


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> Benchmarks:
    stands_in = Benchmarks()
    monkeypatch.setattr(command, "importlib", stands_in)
    about = SimpleNamespace(describe=lambda: {"processor": "a"}, name=lambda: "a machine")
    monkeypatch.setattr(command, "machine", about)
    return stands_in


def start(monkeypatch: pytest.MonkeyPatch, state: Path, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["benchmarks", "--state", str(state), *arguments])
    return command.main()


def test_an_interrupted_run_is_continued_and_a_finished_one_is_not(
    benchmarks: Benchmarks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmarks.interrupted_at = "scale"
    with pytest.raises(KeyboardInterrupt):
        start(monkeypatch, tmp_path)
    (tmp_path / "rivals.jsonl").write_text("measured\n")
    benchmarks.interrupted_at = ""
    benchmarks.run.clear()
    capsys.readouterr()
    assert start(monkeypatch, tmp_path) == 1, "targets are missed"
    assert benchmarks.run == ["scale", "slots", "peak", "startup", "ends"]
    assert (tmp_path / "rivals.jsonl").exists()
    output = capsys.readouterr().out
    assert all(f"## Title of {name}" in output for name in command.BENCHMARKS)
    assert (tmp_path / "report.md").read_text().count("## Title of") == len(command.BENCHMARKS)
    benchmarks.run.clear()
    start(monkeypatch, tmp_path)
    assert benchmarks.run == [*command.BENCHMARKS]
    assert not (tmp_path / "rivals.jsonl").exists(), "a new run measures again"


def test_a_run_with_other_options_is_a_new_one(
    benchmarks: Benchmarks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    benchmarks.interrupted_at = "peak"
    with pytest.raises(KeyboardInterrupt):
        start(monkeypatch, tmp_path)
    benchmarks.run.clear()
    with pytest.raises(KeyboardInterrupt):
        start(monkeypatch, tmp_path, "--rounds", "2")
    assert benchmarks.run[0] == "rivals"


def test_a_single_benchmark_leaves_the_measurements_of_others_alone(
    benchmarks: Benchmarks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "rivals.jsonl").write_text("measured\n")
    start(monkeypatch, tmp_path, "--only", "startup")
    assert benchmarks.run == ["startup"]
    assert (tmp_path / "rivals.jsonl").exists()
    assert not (tmp_path / "report.md").exists()
    assert json.loads((tmp_path / "startup.json").read_text())["targets"][0]["bound"] == 2.0


def test_a_benchmark_that_lacks_its_data_does_not_end_the_run(
    benchmarks: Benchmarks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmarks.unavailable = "rivals"
    assert start(monkeypatch, tmp_path) == 1
    assert benchmarks.run == [*command.BENCHMARKS]
    assert "- rivals: not run: no data" in capsys.readouterr().out


def test_the_time_of_earlier_starts_counts(tmp_path: Path) -> None:
    options = Options(tmp_path, rounds=1, quick=False)
    progress = Progress.open(options, {"rounds": 1})
    progress.spent["rivals"] = 600.0
    with progress.timed("rivals", 1) as share:
        assert share.seconds == share_s("rivals", 1) - 600.0
    again = Progress.open(options, {"rounds": 1})
    assert again.spent["rivals"] >= 600.0


def test_the_summary_has_the_total_and_what_is_missed() -> None:
    met, missed = Target("met", 3.0, 2.0), Target("share", 1.0, 2.0)
    late_s = share_s("scale", 1) + 60.0
    done = [Done("rivals", 900.0, (met, missed), ""), Done("scale", late_s, (met,), "")]
    text = summary(done, 1)
    assert f"| rivals | 15.0 | {MINUTES['rivals']:g} | yes | 1 |" in text
    assert f"| scale | {late_s / 60:.1f} | {MINUTES['scale']:g} | NO | 0 |" in text
    total, limit = 15 + late_s / 60, MINUTES["rivals"] + MINUTES["scale"]
    assert f"| total | {total:.1f} | {limit:g} | yes | 1 |" in text
    assert "- rivals: share: 1 (≥ 2)  MISSED" in text
    assert "| accuracy | 1.0 | – | – | 0 |" in summary([Done("accuracy", 60.0, (), "")], 1)


def test_rounds_must_be_positive(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.parse_arguments(["--rounds", "0"])
    assert "--rounds: got 0, expected 1 or more" in capsys.readouterr().err
