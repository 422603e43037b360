"""The choice of a device, from given timings and from those of the CPU."""

import json
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


def test_devices_are_measured_once(tmp_path: Path) -> None:
    calls = []

    def measure_devices() -> Devices:
        calls.append(1)
        return Devices({"CPU:0": 10.0, "GPU:0": 99.0}, {}, devices.key())

    path = tmp_path / "devices.json"
    assert [devices.chosen(path, lambda: True, measure_devices) for _ in range(2)] == ["CPU", "CPU"]
    assert len(calls) == 1
    devices.save(path, replace(measure_devices(), key="another machine"))
    devices.chosen(path, lambda: True, measure_devices)
    assert len(calls) == 3, "timings of another machine were used for this one"


def test_nothing_is_measured_without_a_gpu(tmp_path: Path) -> None:
    def never() -> Devices:
        raise AssertionError

    assert devices.chosen(tmp_path / "devices.json", lambda: False, never) == "auto"
    assert list(tmp_path.iterdir()) == []


def test_a_crash_of_the_measuring_process_is_reported_as_a_fault(tmp_path: Path) -> None:
    found = devices.measure((sys.executable, "-c", "import os; os.abort()"))
    assert found.step_ms == {}
    assert "SIGABRT" in found.faults["process"]
    assert devices.chosen(tmp_path / "devices.json", lambda: True, lambda: found) == "CPU"
    assert list(tmp_path.iterdir()) == [], "the next start measures again"


def test_a_device_without_a_time_is_a_fault() -> None:
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


def test_a_stored_plan_of_another_version_is_read(tmp_path: Path) -> None:
    """Plans of earlier versions have a key `jit`; a newer version may have keys that this one does not know."""
    path = tmp_path / "plan.json"
    plan = stored_or_chosen(path, TrialConfig(), 3)
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "threads": 2, "jit": False, "precision": "bfloat16"}))
    assert stored_or_chosen(path, TrialConfig(), 3) == replace(plan, threads=2)


def test_a_damaged_plan_is_chosen_again(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    plan = stored_or_chosen(path, TrialConfig(), 1)
    for damaged in ("", "[]", "{}", "null", '{"threads": 1}'):
        path.write_text(damaged)
        assert stored_or_chosen(path, TrialConfig(), 1) == plan


@pytest.mark.tensorflow
def test_the_cpu_is_measured() -> None:
    found = devices.measure()
    assert found.faults == {}
    assert found.step_ms["CPU:0"] > 0
