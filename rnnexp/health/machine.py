"""What this machine is: its system, packages, cores, memory, devices, and the data that are at hand."""

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
from rnnexp.health import studies
from rnnexp.health.finding import Finding
from rnnexp.home import Home
from rnnexp.trial.states import FINISHED

DEVICES, DATA = "devices", "data"
_PACKAGES = ("tensorflow", "tensorflow-metal", "keras", "numba", "optuna", "mlflow", "numpy", "pandas")


@dataclass(frozen=True)
class Machine:
    """What this machine is.

    Attributes:
        system: its name and processor.
        python: the version.
        packages: the versions of those that matter; absent ones are left out.
        cores: that this process may use.
        memory_gb: free for new processes, None where unknown.
        data: each built-in data set and where it is, None where it would have to be downloaded.
        rnnexp_data: what RNNEXP_DATA says, or None.
        devices: what they really give, None where they were not measured.
        device: what new trials train on.
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
    """Looks at the machine.

    Args:
        measured: its devices' timings, or None.
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
    """Devices that give nothing. A GPU that is slower is nothing wrong: trials train on the CPU, and that is said."""
    for name, fault in measured.faults.items():
        if name == "process":
            yield Finding(DEVICES, "the process that measures", f"{fault}; TensorFlow or a plug-in of it does not work")
        else:
            yield Finding(DEVICES, name, f"it cannot train ({fault}); trials use the CPU")


def slower_gpus(measured: Devices) -> list[str]:
    """Returns a line for each GPU that the CPU outruns."""
    cpu = min((ms for name, ms in measured.step_ms.items() if name.startswith("CPU")), default=None)
    return [
        f"{name} takes {ms:.1f} ms for a small step and the CPU {cpu:.1f} ms: trials use the CPU"
        for name, ms in measured.step_ms.items()
        if cpu is not None and name.startswith("GPU") and ms >= cpu
    ]


def check_data(home: Home) -> Iterator[Finding]:
    """Files of the user's own that a study has still to read, and that are not where its settings say."""
    named: dict[str, str] = {}
    for name in studies.idle(home):
        for seen in studies.trials(home, name):
            if seen.state in FINISHED:
                continue
            try:
                path = load_trial(seen.folder.config, {}).data.path
            except RnnexpError:
                continue
            if path is not None and not Path(path).is_file():
                named[path] = name
    for path, name in named.items():
        what = f"study {name} needs it and it is not there; put it back, or name it anew with --set data.path=FILE"
        yield Finding(DATA, path, what)
