"""The choice of a device, by timings that a test gives and by the CPU's own."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from rnnexp.config.trial import TrialConfig
from rnnexp.engine import devices
from rnnexp.engine.devices import Devices
from rnnexp.trial.plan import stored_or_chosen


@pytest.mark.parametrize(
    ("step_ms", "device"),
    [
        ({"CPU:0": 30.0, "GPU:0": 90.0}, "CPU"),
        ({"CPU:0": 30.0, "GPU:0": 9.0}, "GPU"),
        ({"CPU:0": 30.0, "GPU:0": 90.0, "GPU:1": 8.0}, "GPU"),
        ({"CPU:0": 30.0}, "CPU"),
        ({}, "CPU"),
    ],
)
def test_the_faster_device_is_chosen(step_ms: dict[str, float], device: str) -> None:
    assert devices.choice(step_ms) == device


def test_what_was_measured_is_measured_once(tmp_path: Path) -> None:
    asked = []

    def measuring() -> Devices:
        asked.append(1)
        return Devices({"CPU:0": 10.0, "GPU:0": 99.0}, {}, devices.key())

    path = tmp_path / "devices.json"
    assert [devices.chosen(path, lambda: True, measuring) for _ in range(2)] == ["CPU", "CPU"]
    assert len(asked) == 1
    devices.save(path, replace(measuring(), key="another machine"))
    devices.chosen(path, lambda: True, measuring)
    assert len(asked) == 3, "timings of another machine were taken for this one's"


def test_nothing_is_measured_where_no_gpu_can_be(tmp_path: Path) -> None:
    def never() -> Devices:
        raise AssertionError

    assert devices.chosen(tmp_path / "devices.json", lambda: False, never) == "auto"
    assert list(tmp_path.iterdir()) == []


def test_a_crash_of_the_measuring_process_is_only_said(tmp_path: Path) -> None:
    found = devices.measure((sys.executable, "-c", "import os; os.abort()"))
    assert found.step_ms == {}
    assert "SIGABRT" in found.faults["process"]
    assert devices.chosen(tmp_path / "devices.json", lambda: True, lambda: found) == "CPU"
    assert list(tmp_path.iterdir()) == [], "the next start measures again"


def test_a_device_that_gives_nothing_is_named() -> None:
    found = devices.measure((sys.executable, "-c", 'print(\'{"CPU:0": 3.5, "GPU:0": "no kernel image"}\')'))
    assert found.step_ms == {"CPU:0": 3.5}
    assert found.faults == {"GPU:0": "no kernel image"}


def test_the_plan_keeps_the_device_of_the_first_attempt(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    assert stored_or_chosen(path, TrialConfig(), 1, "CPU").device == "CPU"
    assert stored_or_chosen(path, TrialConfig(), 1, "GPU").device == "CPU"
    old = path.read_text().replace(',\n "device": "CPU"', "")
    assert "device" not in old
    path.write_text(old)
    assert stored_or_chosen(path, TrialConfig(), 1, "GPU").device == "auto", "another plan than before"


@pytest.mark.tensorflow
def test_the_cpu_is_measured() -> None:
    found = devices.measure()
    assert found.faults == {}
    assert found.step_ms["CPU:0"] > 0
