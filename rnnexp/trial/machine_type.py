"""What decides the last bits of a result besides its settings: the processor, the libraries and the BLAS kernel.

Numba compiles for the processor that it runs on, and the BLAS library chooses a kernel for it. Both change the order in
which a sum is added up, and training amplifies such a difference. So may another version of TensorFlow or Keras. The
same settings give the same bits only if all of these are the same.
"""

import importlib.metadata
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_CPUINFO = Path("/proc/cpuinfo")
_UNKNOWN = ""


@dataclass(frozen=True)
class MachineType:
    """The type of a machine. A part that is not known is empty, and is then equal to any other.

    Attributes:
        processor: its model.
        numba: the version of Numba.
        blas: the kernel that the BLAS libraries chose for the processor, for example `SkylakeX`.
        tensorflow: the version of TensorFlow.
        keras: the version of Keras.
    """

    processor: str = _UNKNOWN
    numba: str = _UNKNOWN
    blas: str = _UNKNOWN
    tensorflow: str = _UNKNOWN
    keras: str = _UNKNOWN

    @classmethod
    def of(cls, plan: Mapping[str, Any]) -> "MachineType":
        """Returns the type of machine in an execution plan; parts that an earlier version did not store are empty."""
        return cls(*(str(plan.get(name, _UNKNOWN)) for name in cls.__dataclass_fields__))

    def differences(self, now: "MachineType") -> list[str]:
        """Returns the parts that differ, as text; empty if none does."""
        parts = (
            ("processor", self.processor, now.processor),
            ("Numba", self.numba, now.numba),
            ("BLAS kernel", self.blas, now.blas),
            ("TensorFlow", self.tensorflow, now.tensorflow),
            ("Keras", self.keras, now.keras),
        )
        return [f"{name} {then}, now {here}" for name, then, here in parts if then and here and then != here]


@cache
def current() -> MachineType:
    """Returns the type of this machine."""
    return MachineType(_processor(), _version("numba"), _blas(), _version("tensorflow"), _version("keras"))


def _processor() -> str:
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "CPU part"))]
    if models:
        return models[0]
    if platform.system() == "Darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        try:
            return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            pass
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return _UNKNOWN


def _blas() -> str:
    """Returns the kernels of the loaded BLAS libraries; NumPy's and SciPy's usually choose the same one."""
    import numpy as np

    try:
        from threadpoolctl import threadpool_info  # comes with scikit-learn, which MLflow needs
    except ImportError:
        return _UNKNOWN
    kernels = {str(library.get("architecture") or library["internal_api"]) for library in _blas_of(threadpool_info())}
    if kernels:
        return ", ".join(sorted(kernels))
    built_with = np.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    return str(built_with.get("name", _UNKNOWN))  # Apple's Accelerate does not tell its kernel


def _blas_of(libraries: list[dict[str, object]]) -> list[dict[str, object]]:
    return [library for library in libraries if library.get("user_api") == "blas"]
