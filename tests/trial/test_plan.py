"""The plan records the type of machine; a plan of an earlier version has none."""

import dataclasses
import json
from pathlib import Path

import pytest

from rnnexp.config.trial import TrialConfig
from rnnexp.trial import machine_type
from rnnexp.trial.machine_type import MachineType
from rnnexp.trial.plan import other_machine, stored_or_chosen

OTHER = {"processor": "Other CPU", "numba": "0.1", "blas": "Nehalem", "tensorflow": "1.0", "keras": "2.0"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "plan.json"


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_new_plan_records_this_machine(path: Path) -> None:
    plan = stored_or_chosen(path, TrialConfig(), 1)
    assert plan.machine == machine_type.current()
    assert all(dataclasses.astuple(plan.machine)), "a part is unknown"
    stored = json.loads(path.read_text())
    assert MachineType.of(stored) == plan.machine
    assert other_machine([path]) is None


def test_a_plan_of_another_machine_stays_and_is_noted_in_one_line(path: Path) -> None:
    stored_or_chosen(path, TrialConfig(), 1)
    change(path, **OTHER)
    assert stored_or_chosen(path, TrialConfig(), 1).machine == MachineType(**OTHER)
    note = other_machine([path.with_name("missing.json"), path, path])
    assert note is not None
    assert "\n" not in note
    assert f"processor Other CPU, now {machine_type.current().processor}" in note
    assert "Numba 0.1" in note
    assert "BLAS kernel Nehalem" in note


def test_a_plan_of_an_earlier_version_loads_and_is_not_noted(path: Path) -> None:
    plan = stored_or_chosen(path, TrialConfig(), 2)
    values = json.loads(path.read_text())
    for name in OTHER:
        del values[name]
    path.write_text(json.dumps(values))
    found = stored_or_chosen(path, TrialConfig(), 1)
    assert found == dataclasses.replace(plan, **dict.fromkeys(OTHER, ""))
    assert other_machine([path]) is None


def test_the_kernel_is_that_of_numpy_s_library() -> None:
    """What OpenBLAS itself reports, asked through its own function."""
    threadpoolctl = pytest.importorskip("threadpoolctl")
    names = {info["architecture"] for info in threadpoolctl.threadpool_info() if info["internal_api"] == "openblas"}
    if not names:
        pytest.skip("NumPy uses another BLAS library")
    assert names <= set(machine_type.current().blas.split(", "))
