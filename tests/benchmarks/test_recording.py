"""Tests of the recordings of `quality`: nothing is recorded twice; what is shipped is compact and of one machine."""

import dataclasses
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rnnexp.trial.events import AttemptEnded, EpochEnded, Event, Started
from rnnexp.trial.states import State
from tests.benchmarks.quality import record
from tests.benchmarks.quality.baseline import common_curves
from tests.benchmarks.quality.curves import (
    KINDS,
    SHIPPED,
    Curve,
    Recording,
    check_space,
    describe,
    draw_settings,
    imdb_sweep,
)
from tests.benchmarks.quality.program_curves import RecordedStudy, _one_line, overhead_s
from tests.benchmarks.quality.record import record_sequentially, ship
from tests.benchmarks.test_replay import EPOCHS, curves


class Trainer:
    """Records which configurations it trains; is interrupted at one of them."""

    def __init__(self, interrupted_at: int | None = None) -> None:
        self.interrupted_at = interrupted_at
        self.trained: list[int] = []

    def __call__(self, number: int, settings: Mapping[str, Any]) -> Curve:
        if number == self.interrupted_at:
            raise KeyboardInterrupt
        self.trained.append(number)
        return Curve(number, dict(settings), (0.5, 0.6), (1.0, 1.0), 0.1)


def missing(path: Path, n: int, epochs: int) -> dict[int, dict[str, Any]]:
    recording = Recording.open(path, describe("plain", epochs, 1, small=False))
    return recording.missing(draw_settings(n), epochs, "whole")


def test_interrupted_recording_is_continued_and_trains_nothing_twice(tmp_path: Path) -> None:
    path = tmp_path / "plain.json"
    first, second = Trainer(interrupted_at=3), Trainer()
    with pytest.raises(KeyboardInterrupt):
        record_sequentially(Recording(describe("plain", 2, 1, small=False)), path, missing(path, 5, 2), first)
    record_sequentially(Recording.load(path), path, missing(path, 5, 2), second)
    assert (first.trained, second.trained) == ([0, 1, 2], [3, 4])
    recording = Recording.load(path)
    assert [curve.settings for curve in recording.curves] == draw_settings(5)
    check_space(recording)
    assert missing(path, 5, 2) == {}


def test_longer_curve_replaces_a_shorter_one_but_not_the_reverse(tmp_path: Path) -> None:
    path = tmp_path / "plain.json"
    record_sequentially(Recording(describe("plain", 2, 1, small=False)), path, missing(path, 2, 2), Trainer())
    assert list(missing(path, 2, 3)) == [0, 1]
    recording, longer = Recording.load(path), Curve(1, draw_settings(2)[1], (0.1, 0.2, 0.3), (1.0,) * 3, None)
    scaled = Curve(1, draw_settings(2)[1], (), (9.0,) * 8, None, scaled=True)
    recording = recording.with_curve(longer).with_curve(scaled)
    assert recording.curves[1] == longer
    assert list(recording.missing(draw_settings(2), 3, "whole")) == [0]


@pytest.mark.parametrize("values_first", [True, False])
def test_values_and_seconds_can_be_recorded_in_either_order(values_first: bool) -> None:
    settings = draw_settings(1)
    values = Curve(0, settings[0], (0.5, 0.6), (), None)
    seconds = Curve(0, settings[0], (), (9.0, 8.0), 0.5, scaled=True)
    recording = Recording(describe("plain", 2, 1, small=False))
    for part, one in (("values", values), ("seconds", seconds))[:: 1 if values_first else -1]:
        assert list(recording.missing(settings, 2, part)) == [0]
        recording = recording.with_curve(one)
        assert not recording.missing(settings, 2, part)
    assert recording.curves == (Curve(0, settings[0], (0.5, 0.6), (9.0, 8.0), 0.5, scaled=True),)
    assert list(recording.missing(settings, 2, "whole")) == [0], "scaled seconds are not those of complete epochs"
    timed = Curve(0, settings[0], (0.5, 0.6), (9.1, 8.1), 0.4)
    assert recording.with_curve(timed).curves == (timed,)


def test_configuration_without_seconds_of_the_plain_loop_is_left_out() -> None:
    ours = curves(6)
    plain = Recording(describe("plain", EPOCHS, 1, small=False), tuple(ours[:2]))
    for one in ours[2:]:
        plain = plain.with_curve(Curve(one.number, one.settings, one.val_accuracy, (), None))
    found, others = common_curves(Recording(describe("rnnexp", EPOCHS, 2, small=False), tuple(ours)), plain, EPOCHS)
    assert [curve.number for curve in found] == [curve.number for curve in others] == [0, 1]


def test_parts_of_two_machines_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "plain.json"
    Recording({**describe("plain", 2, 1, small=False), "machine": "another"}).save(path)
    with pytest.raises(SystemExit, match="machine was another"):
        missing(path, 2, 2)


def test_drawn_settings_do_not_depend_on_their_number() -> None:
    assert draw_settings(60)[:6] == draw_settings(6)
    assert len({str(settings) for settings in draw_settings(60)}) == 60


def trial(*starts: float, trained: float, ended: float) -> list[Event]:
    """Returns the events of a trial with attempts at these times and one epoch."""
    started: list[Event] = [
        Started(time, attempt, 0, pid=1, n_params=1, data={}, plan={}) for attempt, time in enumerate(starts, start=1)
    ]
    return [*started, EpochEnded(starts[-1] + trained, 1, {}, trained, 1, 0.5), AttemptEnded(ended, "COMPLETE")]


def test_overhead_counts_from_the_end_of_the_previous_trial_in_the_slot() -> None:
    trial_events = {
        0: trial(10.0, trained=20.0, ended=31.0),
        1: trial(10.0, trained=40.0, ended=52.0),
        2: trial(32.0, trained=30.0, ended=63.0),  # in the slot of 0
        3: trial(54.0, trained=20.0, ended=75.0),  # in the slot of 1
        4: trial(64.0, 210.0, trained=5.0, ended=230.0),  # interrupted
        5: trial(211.0, trained=5.0, ended=221.0),  # the first of its slot after the second start
        6: trial(223.0, trained=6.0, ended=230.0),
    }
    found = overhead_s(trial_events, starts=[0.0, 200.0])
    assert found == {2: pytest.approx(2.0), 3: pytest.approx(3.0), 6: pytest.approx(3.0)}


def recorded(folder: Path, n: int = 3, **plain_about: Any) -> None:
    """Writes recordings of both programs: whole curves of rnnexp, seconds of the plain loop."""
    folder.mkdir(exist_ok=True)
    ours = [
        dataclasses.replace(one, val_accuracy=(0.84320000123, 0.85, 0.8, 0.9), beside_s=0.471234) for one in curves(n)
    ]
    about = {**describe("rnnexp", EPOCHS, 2, small=False), "starts": {"curves": [1764.0]}, "start_s": [3.21]}
    Recording(about, tuple(ours)).save(folder / "rnnexp.json")
    plain = [Curve(one.number, one.settings, (), (9.876543,) * EPOCHS, 1.0, scaled=True) for one in ours]
    Recording({**describe("plain", EPOCHS, 1, small=False), **plain_about}, tuple(plain)).save(folder / "plain.json")


def test_shipped_recording_is_rounded_and_has_a_line_per_curve(tmp_path: Path) -> None:
    recorded(tmp_path / "own")
    ship(tmp_path / "own", tmp_path / "shipped", 3, EPOCHS)
    text = (tmp_path / "shipped" / "rnnexp.json").read_text()
    found = Recording.load(tmp_path / "shipped" / "rnnexp.json")
    assert [curve.val_accuracy for curve in found.curves] == [(0.8432, 0.85, 0.8, 0.9)] * 3
    assert [curve.beside_s for curve in found.curves] == [0.47] * 3
    assert sum(line.startswith('{"number"') for line in text.splitlines()) == 3
    assert "starts" not in found.about
    assert found.about["start_s"] == [3.21]
    assert Recording.load(tmp_path / "shipped" / "plain.json").curves[0].seconds == (9.88,) * EPOCHS
    common_curves(found, Recording.load(tmp_path / "shipped" / "plain.json"), EPOCHS)


def test_a_recording_says_its_machine_but_neither_a_host_name_nor_a_path() -> None:
    about = describe("rnnexp", 8, 2, small=False)
    assert {"python", "rnnexp", "tensorflow", "keras", "optuna", "numba"} <= about["versions"].keys()
    assert " cores, " in about["machine"]
    text = json.dumps(about)
    assert socket.gethostname() not in text
    assert str(Path.home()) not in text
    assert str(Path.cwd()) not in text


def test_a_failed_trial_is_recorded_without_a_path() -> None:
    assert _one_line("killed; see /home/a/work/3/log.txt\nTraceback …", "/home/a") == "killed; see HOME/work/3/log.txt"


def test_incomplete_recordings_and_those_of_two_machines_are_not_shipped(tmp_path: Path) -> None:
    own, shipped = tmp_path / "own", tmp_path / "shipped"
    with pytest.raises(SystemExit, match=r"rnnexp\.json is missing; record it with --kind rnnexp"):
        ship(own, shipped, 3, EPOCHS)
    recorded(own)
    with pytest.raises(
        SystemExit, match=r"rnnexp\.json: 1 of 4 configurations are missing; continue with --kind rnnexp"
    ):
        ship(own, shipped, 4, EPOCHS)
    recorded(own, machine="another")
    with pytest.raises(SystemExit, match="different machines"):
        ship(own, shipped, 3, EPOCHS)
    assert not shipped.exists()


def test_drawn_settings_are_short_and_in_the_space() -> None:
    for number, settings in enumerate(draw_settings(60)):
        check_space(Recording({}, (Curve(number, settings, (), (), None),)))
        assert all(len(f"{value:.10g}") <= 10 for value in settings.values() if isinstance(value, float)), settings


@pytest.mark.parametrize(
    ("arguments", "part"), [(["--kind", "plain"], "seconds"), (["--kind", "plain", "--part", "whole"], "whole")]
)
def test_seconds_of_the_plain_loop_are_recorded_by_default(
    arguments: list[str], part: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(record, "record", lambda *_, **options: asked.update(options) or 0)
    monkeypatch.setattr("sys.argv", ["record", *arguments, "--state", str(tmp_path)])
    monkeypatch.setenv("RNNEXP_DATA", str(tmp_path))
    assert record.main() == 0
    assert asked["part"] == part


@pytest.mark.skipif(not (SHIPPED / "rnnexp.json").exists(), reason="no recording is shipped")
def test_the_shipped_recordings_are_complete_and_fit_the_search_space() -> None:
    found = {kind: Recording.load(SHIPPED / f"{kind}.json") for kind in KINDS}
    epochs = imdb_sweep().base.train.epochs
    for kind, part in (("rnnexp", "whole"), ("plain", "seconds")):
        check_space(found[kind])
        assert not found[kind].missing(draw_settings(60), epochs, part)
        assert all(curve == curve.rounded() for curve in found[kind].curves)
        assert not any(" /" in curve.failed for curve in found[kind].curves), "a path of the recording's machine"
    assert found["rnnexp"].about["machine"] == found["plain"].about["machine"]


def test_curves_are_those_of_the_settings_whatever_the_order_of_the_trials() -> None:
    settings = draw_settings(3)
    epoch = EpochEnded(2.0, 1, {"val_accuracy": 0.8}, 1.5, 1, 0.8)
    study = object.__new__(RecordedStudy)
    study._settings, study._events = settings, {0: [epoch]}
    row: Any = SimpleNamespace(number=0, settings=settings[2], state=State.COMPLETE, reason="")
    assert study._curve(row, None) == Curve(2, settings[2], (0.8,), (1.5,), None)
