"""Which device a recurrent network trains on: the faster one, as measured; a GPU need not be that.

A small recurrent step is a loop of small operations, and starting each costs a GPU more than computing it costs a CPU.
"""

import importlib.metadata
import json
import platform
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rnnexp import disk

_GPU_NODES = (Path("/dev/nvidia0"), Path("/dev/kfd"))
_METAL = "tensorflow-metal"
_PACKAGES = ("tensorflow", "keras", "numba", _METAL)
_PATIENCE_S = 180


@dataclass(frozen=True)
class Devices:
    """What the devices really give.

    Attributes:
        step_ms: of a small recurrent training step, by device (`CPU:0`, `GPU:0`).
        faults: why a device gave none, by device; `process` where the process that measures did not end well.
        key: the versions and the machine for which this holds.
    """

    step_ms: Mapping[str, float]
    faults: Mapping[str, str] = field(default_factory=dict)
    key: str = ""


def gpu_is_possible() -> bool:
    """Tells, without asking TensorFlow, whether there may be a GPU that it can use."""
    return any(node.exists() for node in _GPU_NODES) or (sys.platform == "darwin" and _version(_METAL) is not None)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def key() -> str:
    """Returns what the timings depend on; others hold for another."""
    versions = [f"{name} {_version(name)}" for name in _PACKAGES]
    return "; ".join([platform.platform(), *(str(node) for node in _GPU_NODES if node.exists()), *versions])


def measure(command: tuple[str, ...] = (sys.executable, "-m", "rnnexp.trial.device_timing")) -> Devices:
    """Times a step on each device, in a process of its own; a few seconds.

    Args:
        command: prints the timings as its last line.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
    except subprocess.TimeoutExpired:
        return Devices({}, {"process": f"does not end within {_PATIENCE_S} s"}, key())
    try:
        said = json.loads(done.stdout.strip().splitlines()[-1])
        assert isinstance(said, dict)
    except (IndexError, ValueError, AssertionError):
        code = done.returncode
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        last = (done.stderr.strip().splitlines() or [""])[-1][:160]
        return Devices({}, {"process": f"{how}{f' ({last})' if last else ''}"}, key())
    step_ms = {name: float(value) for name, value in said.items() if isinstance(value, int | float)}
    faults = {name: str(value) for name, value in said.items() if name not in step_ms}
    return Devices(step_ms, faults, key())


def choice(step_ms: Mapping[str, float]) -> str:
    """Returns "GPU" where one is faster than the CPU, else "CPU"."""
    gpus = [value for name, value in step_ms.items() if name.startswith("GPU")]
    cpus = [value for name, value in step_ms.items() if name.startswith("CPU")]
    return "GPU" if gpus and (not cpus or min(gpus) < min(cpus)) else "CPU"


def load(path: Path) -> Devices | None:
    """Returns the stored timings where they are of this machine and these versions."""
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
    path: Path, possible: Callable[[], bool] = gpu_is_possible, measuring: Callable[[], Devices] = measure
) -> str:
    """Returns the device for new trials, measuring once where there may be a GPU.

    Args:
        path: where the timings are kept.
        possible: tells whether there may be one.
        measuring: times the devices.

    Returns:
        "CPU" or "GPU", the CPU where measuring crashed; "auto", which leaves it to TensorFlow, where no GPU can be.
    """
    if not possible():
        return "auto"
    found = load(path)
    if found is None:
        found = measuring()
        if found.step_ms:  # a process that crashed may not crash again
            save(path, found)
    return choice(found.step_ms)
