"""The machine and the versions that figures are from, without host names and paths."""

import importlib.metadata
import os
import platform
from typing import Any

_PACKAGES = ("tensorflow", "keras", "optuna", "mlflow", "numpy", "numba")


def n_cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe() -> dict[str, Any]:
    """Returns the processor's model, the cores, the system and the versions."""
    from rnnexp.trial import machine_type

    return {
        "processor": machine_type.current().processor,
        "cores": n_cores(),
        "system": platform.system(),
        "versions": versions(),
    }


def name() -> str:
    """Returns the machine in a few words."""
    about = describe()
    return f"{about['processor']}, {about['cores']} cores, {about['system']}"


def versions() -> dict[str, str]:
    """Returns the versions of Python, of this program and of the packages that do the work."""
    from rnnexp import __version__

    packages = {package: importlib.metadata.version(package) for package in _PACKAGES}
    return {"python": platform.python_version(), "rnnexp": __version__, **packages}
