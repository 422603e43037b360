"""Describes this machine (system, packages, cores, memory, devices, local data sets) and finds faults of it."""

import importlib.metadata
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rnnexp import __version__
from rnnexp.config import names
from rnnexp.config.trial import load_trial
from rnnexp.data.store import built_in
from rnnexp.engine import devices, local
from rnnexp.engine.devices import Devices
from rnnexp.errors import RnnexpError
from rnnexp.health.finding import Finding
from rnnexp.health.studies import Observation
from rnnexp.trial.states import FINISHED

DEVICES, DATA = "devices", "data"
_PACKAGES = ("tensorflow", "tensorflow-metal", "keras", "numba", "optuna", "mlflow", "numpy", "pandas")


@dataclass(frozen=True)
class Machine:
    """This machine.

    Attributes:
        system: the operating system and the processor.
        python: the version.
        packages: the versions of the important packages; packages that are not installed are left out.
        cores: the cores that this process may use.
        memory_gb: free memory for new processes; None if unknown.
        data: the path of each built-in data set; None if it has to be downloaded.
        rnnexp_data: the environment variable RNNEXP_DATA, or None.
        devices: the measured devices; None if they were not measured.
        device: the device on which new trials train.
    """

    system: str
    python: str
    packages: dict[str, str]
    cores: int
    memory_gb: float | None
    data: dict[str, str | None]
    rnnexp_data: str | None
    devices: Devices | None = None
    device: str = "auto"


def machine(measured: Devices | None) -> Machine:
    """Describes this machine.

    Args:
        measured: the timings of its devices, or None.
    """
    memory = local.free_memory_gb()
    return Machine(
        system=f"{platform.platform()}, {platform.machine()}",
        python=platform.python_version(),
        packages={"rnnexp": __version__, **dict(_versions())},
        cores=local.n_cores(),
        memory_gb=None if memory is None else round(memory, 1),
        data={name: built_in(name).local_path() for name in names.data_sets()},
        rnnexp_data=os.environ.get("RNNEXP_DATA"),
        devices=measured,
        device=devices.choice(measured.step_ms) if measured else "auto",
    )


def _versions() -> Iterator[tuple[str, str]]:
    for name in _PACKAGES:
        try:
            yield name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue


def check_devices(measured: Devices) -> Iterator[Finding]:
    """Yields the devices that do not work. A slow GPU is not a fault: trials train on the CPU then."""
    for name, fault in measured.faults.items():
        if name == "process":
            yield Finding(DEVICES, "the measuring process", f"{fault}; TensorFlow or one of its plug-ins does not work")
        else:
            yield Finding(DEVICES, name, f"it cannot train ({fault}); trials use the CPU")


def slower_gpus(measured: Devices) -> list[str]:
    """Returns a line for each GPU that is slower than the CPU."""
    cpu = min((ms for name, ms in measured.step_ms.items() if name.startswith("CPU")), default=None)
    return [
        f"{name} takes {ms:.1f} ms for a small step and the CPU {cpu:.1f} ms: trials use the CPU"
        for name, ms in measured.step_ms.items()
        if cpu is not None and name.startswith("GPU") and ms >= cpu
    ]


def check_data(observed: Observation) -> Iterator[Finding]:
    """Yields the user's own data files that an unfinished trial needs and that do not exist."""
    missing: dict[str, str] = {}
    for name in observed.idle():
        for snapshot in observed.trials(name):
            if snapshot.state in FINISHED:
                continue
            try:
                path = load_trial(snapshot.folder.config, {}).data.path
            except RnnexpError:
                continue
            if path is not None and not Path(path).is_file():
                missing[path] = name
    for path, name in missing.items():
        what = f"study {name} needs this file, but it is missing; restore it, or set another with --set data.path=FILE"
        yield Finding(DATA, path, what)
