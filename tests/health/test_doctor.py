"""The output of `rnnexp doctor` for fake devices and homes; no TensorFlow."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from rnnexp.cli import main
from rnnexp.commands import doctor
from rnnexp.engine import devices
from rnnexp.engine.devices import Devices
from rnnexp.health import machine
from rnnexp.health.studies import Observation
from rnnexp.health.usage import usage
from rnnexp.home import Home
from tests.study.fakes import FakeExecutor
from tests.study.small_study import Study


def _doctor(home: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main(["doctor", "--home", str(home), *arguments])
    return code, capsys.readouterr().out


def test_a_home_that_does_not_exist_has_no_findings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, output = _doctor(tmp_path / "none", capsys, "--no-devices")
    assert code == 0
    assert output.splitlines()[-1] == "no problems found"
    assert not (tmp_path / "none").exists()


def test_a_slower_gpu_is_reported_but_is_not_a_finding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = Devices({"CPU:0": 30.0, "GPU:0": 90.0}, {}, devices.key())
    monkeypatch.setattr(doctor.devices, "measure", lambda: measured)
    monkeypatch.setattr(doctor.devices, "gpu_is_possible", lambda: True)
    code, output = _doctor(tmp_path, capsys)
    assert code == 0
    assert "GPU:0 takes 90.0 ms for a small step and the CPU 30.0 ms: trials use the CPU" in output
    assert devices.load(Home.at(tmp_path).devices) == measured, "the next sweep uses the saved timings"


def test_a_plugin_that_crashes_is_a_finding(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor.devices, "measure", lambda: Devices({}, {"process": "was killed by SIGSEGV"}, "key"))
    code, output = _doctor(tmp_path, capsys)
    assert code == 1
    assert "SIGSEGV" in output
    assert output.splitlines()[-1] == "1 problem found"


def test_json_contains_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = Study(tmp_path)
    study.run(FakeExecutor())
    for trial in study.home.study("s").trials.iterdir():
        shutil.rmtree(trial / "checkpoints")
    (study.home.study("s").trial(1).root / "writing-log").write_bytes(b"x" * 500)
    code, output = _doctor(study.home.root, capsys, "--no-devices", "--json")
    found: dict[str, Any] = json.loads(output)
    assert code == 1
    assert set(found) == {"machine", "disk", "running", "findings"}
    assert found["machine"]["packages"]["optuna"]
    assert found["disk"]["work"]["s"] > 0
    assert found["disk"]["repair_frees"] == 500
    (leftover,) = (finding for finding in found["findings"] if finding["check"] == "leftovers")
    assert (leftover["frees_bytes"], leftover["repaired"], leftover["repair"]) == (500, False, "removed")
    _, output = _doctor(study.home.root, capsys, "--no-devices", "--json", "--repair")
    (leftover,) = (finding for finding in json.loads(output)["findings"] if finding["check"] == "leftovers")
    assert leftover["repaired"]


def test_usage_adds_up(tmp_path: Path) -> None:
    study = Study(tmp_path)
    study.run(FakeExecutor())
    found = usage(study.home)
    n_bytes = sum(path.stat().st_size for path in study.home.root.rglob("*") if path.is_file())
    assert found.total == n_bytes
    assert found.databases == sum(path.stat().st_size for path in study.home.root.glob("optuna.db*"))


def test_a_missing_data_file_is_a_finding(tmp_path: Path) -> None:
    study = Study(tmp_path)
    study.run(FakeExecutor(), signals={(0, 1): 15})
    trial = study.home.study("s").trial(0)
    trial.config.write_text("data: {path: /nowhere/mine.csv, text: a, label: b}\n")
    assert [finding.where for finding in machine.check_data(Observation(study.home))] == ["/nowhere/mine.csv"]
