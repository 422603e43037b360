"""Selects the device that trains recurrent networks: the faster one, as measured. That need not be a GPU.

A small recurrent step is a loop of small operations. To start one on a GPU takes longer than to compute it on a CPU.
"""

import importlib.metadata
import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rnnexp import disk

_DEV = Path("/dev")
_GPU_NODES = ("nvidia[0-9]*", "kfd", "dxg")
VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The environment variable that selects GPUs: numbers or identifiers, separated by commas."""
_METAL = "tensorflow-metal"
_PACKAGES = ("tensorflow", "keras", "numba", _METAL)
_TIMEOUT_S = 180


@dataclass(frozen=True)
class Devices:
    """The measured speed of the devices.

    Attributes:
        step_ms: time of a small recurrent training step, by device (`CPU:0`, `GPU:0`).
        faults: why a device has no time, by device; `process` if the measuring process failed.
        key: the versions and the machine for which the times are valid.
    """

    step_ms: Mapping[str, float]
    faults: Mapping[str, str] = field(default_factory=dict)
    key: str = ""


@dataclass(frozen=True)
class DeviceUse:
    """The devices on which new trials train.

    Attributes:
        device: "CPU" or "GPU"; "auto" leaves the choice to TensorFlow.
        gpus: for each GPU to use, the value of `CUDA_VISIBLE_DEVICES` that selects it; empty unless `device` is "GPU".
    """

    device: str = "auto"
    gpus: tuple[str, ...] = ()


def gpu_is_possible() -> bool:
    """Tells, without importing TensorFlow, whether there may be a GPU that it can use."""
    return bool(_gpu_nodes()) or (sys.platform == "darwin" and _version(_METAL) is not None)


def _gpu_nodes() -> list[str]:
    return sorted(str(node) for pattern in _GPU_NODES for node in _DEV.glob(pattern))


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def key() -> str:
    """Returns the versions, the machine and the selection of GPUs on which the timings depend."""
    versions = [f"{name} {_version(name)}" for name in _PACKAGES]
    selected = [f"{VISIBLE}={os.environ[VISIBLE]}"] if VISIBLE in os.environ else []
    return "; ".join([platform.platform(), *_gpu_nodes(), *versions, *selected])


def measure(command: tuple[str, ...] = (sys.executable, "-m", "rnnexp.trial.device_timing")) -> Devices:
    """Times a step on each device in a separate process; takes a few seconds.

    Args:
        command: prints the timings as the last line of its output.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return Devices({}, {"process": f"does not end within {_TIMEOUT_S} s"}, key())
    try:
        printed = json.loads(done.stdout.strip().splitlines()[-1])
        assert isinstance(printed, dict)
    except (IndexError, ValueError, AssertionError):
        code = done.returncode
        failure = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        last = (done.stderr.strip().splitlines() or [""])[-1][:160]
        return Devices({}, {"process": f"{failure}{f' ({last})' if last else ''}"}, key())
    step_ms = {name: float(value) for name, value in printed.items() if isinstance(value, int | float)}
    faults = {name: str(value) for name, value in printed.items() if name not in step_ms}
    return Devices(step_ms, faults, key())


def choice(step_ms: Mapping[str, float]) -> str:
    """Returns "GPU" if one is faster than the CPU, else "CPU"."""
    gpus = [value for name, value in step_ms.items() if name.startswith("GPU")]
    cpus = [value for name, value in step_ms.items() if name.startswith("CPU")]
    return "GPU" if gpus and (not cpus or min(gpus) < min(cpus)) else "CPU"


def gpu_selectors(step_ms: Mapping[str, float], visible: str | None) -> tuple[str, ...]:
    """Returns for each GPU that is faster than the CPU the value of `CUDA_VISIBLE_DEVICES` that selects it.

    Args:
        step_ms: the timings of the visible devices; TensorFlow numbers the visible GPUs from 0.
        visible: the value of `CUDA_VISIBLE_DEVICES` that the user has set; None without one.
    """
    cpu = min((ms for name, ms in step_ms.items() if name.startswith("CPU")), default=float("inf"))
    numbers = sorted(
        int(name.partition(":")[2]) for name, ms in step_ms.items() if name.startswith("GPU:") and ms < cpu
    )
    if visible is None:
        return tuple(map(str, numbers))
    selectors = [part.strip() for part in visible.split(",")]
    return tuple(selectors[number] for number in numbers if number < len(selectors))


def load(path: Path) -> Devices | None:
    """Returns the stored timings if they are valid for this machine and these versions."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        found = Devices(dict(values["step_ms"]), dict(values["faults"]), str(values["key"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if found.key == key() else None


def save(path: Path, found: Devices) -> None:
    """Stores the timings."""
    disk.write_text(path, json.dumps(asdict(found), indent=1))


def chosen(
    path: Path, is_possible: Callable[[], bool] = gpu_is_possible, measure_devices: Callable[[], Devices] = measure
) -> str:
    """Returns the device for new trials. Measures once if there may be a GPU.

    Args:
        path: the file of the timings.
        is_possible: tells whether there may be a GPU.
        measure_devices: times the devices.

    Returns:
        "CPU" or "GPU"; "CPU" if measuring failed; "auto" if there can be no GPU, which leaves the choice to TensorFlow.
    """
    if not is_possible():
        return "auto"
    found = load(path)
    if found is None:
        found = measure_devices()
        if found.step_ms:  # after a crash the next start measures again
            save(path, found)
    return choice(found.step_ms)


def chosen_use(
    path: Path, is_possible: Callable[[], bool] = gpu_is_possible, measure_devices: Callable[[], Devices] = measure
) -> DeviceUse:
    """Returns the device and the GPUs for new trials; see `chosen`."""
    device = chosen(path, is_possible, measure_devices)
    return measured_use(path) if device == "GPU" else DeviceUse(device)


def measured_use(path: Path) -> DeviceUse:
    """Returns the device and the GPUs by the stored timings; measures nothing."""
    found = load(path)
    if found is None or choice(found.step_ms) != "GPU":
        return DeviceUse() if found is None else DeviceUse("CPU")
    return DeviceUse("GPU", gpu_selectors(found.step_ms, os.environ.get(VISIBLE)))
