"""Which matrix kernels a trial's process is told to use."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rnnexp.trial import blas

WIDE = "avx2 avx512f avx512cd avx512bw avx512dq avx512vl"


@pytest.mark.parametrize(
    ("vendor", "flags", "core"),
    [
        ("AuthenticAMD", WIDE, "SkylakeX"),
        ("AuthenticAMD", "avx2 avx512f", None),
        ("GenuineIntel", WIDE, None),
    ],
)
def test_only_an_amd_with_all_of_avx_512_is_told(tmp_path: Path, vendor: str, flags: str, core: str | None) -> None:
    cpu = tmp_path / "cpuinfo"
    cpu.write_text(f"processor\t: 0\nvendor_id\t: {vendor}\nflags\t\t: fpu sse {flags}\n")
    assert blas.environment(cpu).get(blas.CORE) == core


def test_a_machine_that_does_not_say_is_left_alone(tmp_path: Path) -> None:
    assert blas.environment(tmp_path / "none") == {"OPENBLAS_NUM_THREADS": "1"}


@pytest.mark.tensorflow
def test_what_the_user_has_set_stays() -> None:
    code = "import rnnexp.trial.preload, os; print(os.environ['OPENBLAS_CORETYPE'], os.environ['OPENBLAS_NUM_THREADS'])"
    chosen = {**os.environ, "OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_NUM_THREADS": "3"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=chosen)
    assert done.stdout.split() == ["Haswell", "3"], done.stderr
