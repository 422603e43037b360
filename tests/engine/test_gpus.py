"""Slots on a machine with several GPUs, by injected timings; no GPU is needed."""

import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import pytest

from rnnexp.commands.run_study import plan_slots
from rnnexp.config.load import load_sweep
from rnnexp.config.trial import DataConfig, TrialConfig
from rnnexp.data.store import TokenStore, prepare
from rnnexp.engine import devices, local
from rnnexp.engine.devices import Devices, DeviceUse
from rnnexp.engine.executor import Exited
from rnnexp.home import Home, TrialFolder
from rnnexp.trial import process
from rnnexp.trial.job import Place, Share, TrialJob

pytestmark = pytest.mark.integration  # starts processes

FOUR = {"CPU:0": 30.0, "GPU:0": 9.0, "GPU:1": 9.5, "GPU:2": 9.1, "GPU:3": 9.2}


@pytest.mark.parametrize(
    ("step_ms", "visible", "expected"),
    [
        (FOUR, None, ("0", "1", "2", "3")),
        ({"GPU:10": 1.0, "GPU:9": 1.0, "CPU:0": 2.0}, None, ("9", "10")),
        ({"CPU:0": 30.0, "GPU:0": 9.0, "GPU:1": 9.5}, "3,1", ("3", "1")),
        ({"CPU:0": 30.0, "GPU:0": 9.0, "GPU:1": 9.5}, "GPU-8f3a, MIG-77", ("GPU-8f3a", "MIG-77")),
        ({"CPU:0": 30.0, "GPU:0": 9.0, "GPU:1": 90.0, "GPU:2": 8.0}, "4,5,6", ("4", "6")),
        ({"CPU:0": 30.0}, None, ()),
        ({"CPU:0": 30.0}, "", ()),
    ],
)
def test_a_gpu_is_selected_within_the_selection_of_the_user(
    step_ms: dict[str, float], visible: str | None, expected: tuple[str, ...]
) -> None:
    assert devices.gpu_selectors(step_ms, visible) == expected


def test_the_use_of_the_devices_follows_from_their_timings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(devices.VISIBLE, raising=False)
    path = tmp_path / "devices.json"
    assert devices.measured_use(path) == DeviceUse()
    assert devices.chosen_use(path, lambda: False) == DeviceUse("auto")
    measured: list[int] = []

    def measure() -> Devices:
        measured.append(1)
        return Devices(FOUR if devices.VISIBLE not in os.environ else {"CPU:0": 1.0, "GPU:0": 9.0}, {}, devices.key())

    for _ in range(2):
        assert devices.chosen_use(path, lambda: True, measure) == DeviceUse("GPU", ("0", "1", "2", "3"))
    assert devices.measured_use(path) == DeviceUse("GPU", ("0", "1", "2", "3"))
    monkeypatch.setenv(devices.VISIBLE, "7")
    assert devices.measured_use(path) == DeviceUse(), "the timings are of another selection"
    assert devices.chosen_use(path, lambda: True, measure) == DeviceUse("CPU")
    assert devices.measured_use(path) == DeviceUse("CPU")
    assert len(measured) == 2


def test_any_gpu_of_a_container_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may have the second GPU of its machine only."""
    monkeypatch.setattr(devices, "_DEV", tmp_path)
    assert not devices.gpu_is_possible()
    (tmp_path / "nvidiactl").touch()
    assert not devices.gpu_is_possible()
    (tmp_path / "nvidia1").touch()
    assert devices.gpu_is_possible()
    assert str(tmp_path / "nvidia1") in devices.key()


def test_there_is_a_slot_for_each_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "n_cores", lambda: 32)
    monkeypatch.setattr(local, "free_memory_gb", lambda: 64.0)
    use = DeviceUse("GPU", ("0", "1", "2", "3"))
    plan = local.plan_slots(None, 40, 1.5, use)
    assert (plan.slots, plan.threads, plan.use) == (4, 8, use)
    assert local.plan_slots(None, 3, 1.5, use).slots == 3
    assert local.plan_slots(None, 40, 30.0, use).slots == 2, "the memory of the machine bounds them too"
    assert local.plan_slots(8, 40, 1.5, use).slots == 8, "the user's setting has priority"
    assert local.plan_slots(None, 40, 1.5, DeviceUse("CPU")).slots == 32


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    return prepare(DataConfig(name="reviews"), Home.open(tmp_path_factory.mktemp("data")))


@pytest.mark.parametrize(("workers", "line"), [(None, ""), (4, ""), (5, "5 trials at once share 4 GPUs: up to 2")])
def test_a_line_says_that_trials_share_a_gpu(
    workers: int | None,
    line: str,
    tmp_path: Path,
    store: TokenStore,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(local, "n_cores", lambda: 32)
    monkeypatch.setattr(local, "free_memory_gb", lambda: 64.0)
    file = tmp_path / "sweep.yaml"
    file.write_text("study: s\nbudget: {trials: 9}\nbase: {data: {name: reviews}}\n")
    config = load_sweep(file, {"engine.max_slots": workers})
    plan = plan_slots(config, store, DeviceUse("GPU", ("0", "1", "2", "3")))
    assert plan.slots == (workers or 4)
    printed = capsys.readouterr().out
    assert line in printed
    assert bool(line) == bool(printed)


@pytest.mark.parametrize(
    ("precision", "device", "is_told"),
    [("base", "CPU", True), ("space", "auto", True), ("base", "GPU", False), ("", "CPU", False)],
)
def test_a_line_says_that_mixed_precision_is_slow_on_a_cpu(
    precision: str,
    device: str,
    is_told: bool,
    tmp_path: Path,
    store: TokenStore,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(local, "free_memory_gb", lambda: 64.0)
    file = tmp_path / "sweep.yaml"
    file.write_text(
        "study: s\nbudget: {trials: 9}\nbase: {data: {name: reviews}}\n"
        + "space: {train.precision: {choice: [float32, mixed_bfloat16]}}\n" * (precision == "space")
    )
    settings = {"train.precision": "mixed_bfloat16"} if precision == "base" else {}
    plan_slots(load_sweep(file, settings), store, DeviceUse(device, ("0",) if device == "GPU" else ()))
    assert ("mixed_bfloat16 is for GPUs" in capsys.readouterr().out) == is_told


def _report(job: TrialJob, place: Place, share: Share, pipe: Any, preloaded: bool) -> None:
    """What a trial's process sees, instead of a training; it ends when it gets a message."""
    process._select_gpu(share)
    pipe.send(os.environ.get(devices.VISIBLE))
    pipe.recv()


def _poll_until(executor: local.LocalExecutor, kind: type, n: int) -> list[tuple[int, Any]]:
    found: list[tuple[int, Any]] = []
    deadline = time.monotonic() + 60
    while len(found) < n and time.monotonic() < deadline:
        found += [message for message in executor.poll(1.0) if isinstance(message[1], kind)]
    return found


def test_each_process_gets_the_gpu_that_the_fewest_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "run_trial", _report)
    monkeypatch.setattr(local, "context", lambda: (multiprocessing.get_context("spawn"), False))
    monkeypatch.setenv(devices.VISIBLE, "5,GPU-8f3a")
    place = Place(TrialFolder(tmp_path), tmp_path)
    executor = local.LocalExecutor(5, gpus=("5", "GPU-8f3a"))
    for number in range(5):
        executor.submit(TrialJob(number, TrialConfig(), 1, "s"), place)
    assert dict(_poll_until(executor, str, 5)) == {0: "5", 1: "GPU-8f3a", 2: "5", 3: "GPU-8f3a", 4: "5"}
    for number in (1, 3):
        executor.kill(number)
    _poll_until(executor, Exited, 2)
    executor.submit(TrialJob(5, TrialConfig(), 1, "s"), place)
    assert _poll_until(executor, str, 1) == [(5, "GPU-8f3a")]
    executor.close()


def test_without_gpus_the_variable_of_the_user_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "run_trial", _report)
    monkeypatch.setattr(local, "context", lambda: (multiprocessing.get_context("spawn"), False))
    monkeypatch.setenv(devices.VISIBLE, "-1")
    executor = local.LocalExecutor(1)
    executor.submit(TrialJob(0, TrialConfig(), 1, "s"), Place(TrialFolder(tmp_path), tmp_path))
    assert _poll_until(executor, str, 1) == [(0, "-1")]
    executor.close()
