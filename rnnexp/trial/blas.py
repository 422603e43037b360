"""Which of OpenBLAS's kernels multiply matrices; it is told by environment variables before NumPy is imported."""

import os
from pathlib import Path

CORE = "OPENBLAS_CORETYPE"

_CPU = Path("/proc/cpuinfo")
_AVX512 = {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}


def environment(cpu: Path = _CPU) -> dict[str, str]:
    """Returns the variables for a trial's process.

    One thread: a trial's threads share reviews, not products. And the kernels for AVX-512 where an AMD processor has
    it: OpenBLAS knows Intel's by name, and takes those for AVX2 on an AMD that is newer than itself, at half the rate
    (a 2048 × 2048 product in float32 on one core of a Zen 5: 105 and 200 GFLOP/s).

    Args:
        cpu: as Linux describes processors.
    """
    try:
        text = cpu.read_text()
    except OSError:
        text = ""
    flags = next((line for line in text.splitlines() if line.startswith("flags")), "")
    wide = "AuthenticAMD" in text and set(flags.split()) >= _AVX512
    return {"OPENBLAS_NUM_THREADS": "1"} | ({CORE: "SkylakeX"} if wide else {})


def core() -> str:
    """Returns what the user or `environment` chose; `auto` leaves it to OpenBLAS."""
    return os.environ.get(CORE, "auto")
