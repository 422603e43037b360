"""The cache of compiled code where the program's folder and the user's cache folder cannot be written."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

PROGRAM = """
import numba.core.caching as caching

def refuse(self):
    raise OSError(30, "Read-only file system")

for name in ("InTreeCacheLocator", "_InTreeCacheLocator", "UserWideCacheLocator", "_UserWideCacheLocator"):
    if hasattr(caching, name):
        getattr(caching, name).ensure_cache_path = refuse

import numba
from rnnexp.model.kernel import numba_compiler, packing

@numba_compiler.jit
def add(a, b):
    return a + b

print(add(1, 2), numba.config.CACHE_DIR)
"""


def _run(temporary: Path, **variables: str) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    environment |= {"TMPDIR": str(temporary), **variables}
    script = temporary / "program.py"
    script.write_text(PROGRAM)
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_folder_in_the_temporary_folder_replaces_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    result, folder = _run(tmp_path)
    assert result == "3"
    assert folder == str(tmp_path / f"rnnexp-numba-{os.getuid()}")
    assert any(Path(folder).rglob("*.nbc"))
    assert Path(folder).stat().st_mode & 0o077 == 0


def test_without_any_cache_the_functions_are_compiled_each_time(tmp_path: Path) -> None:
    (tmp_path / f"rnnexp-numba-{os.getuid()}").write_text("not a folder")
    assert _run(tmp_path) == ["3"]


def test_numba_can_be_switched_off_to_debug(tmp_path: Path) -> None:
    assert _run(tmp_path, NUMBA_DISABLE_JIT="1")[0] == "3"
    assert not list(tmp_path.rglob("*.nbc"))


def test_a_folder_of_others_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rnnexp.model.kernel import numba_compiler

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = tmp_path / f"rnnexp-numba-{os.getuid()}"
    assert numba_compiler.private_temporary_folder() == folder
    folder.chmod(0o777)
    assert numba_compiler.private_temporary_folder() is None
    folder.rmdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    folder.symlink_to(elsewhere)
    assert numba_compiler.private_temporary_folder() is None
    folder.unlink()
    folder.mkdir(mode=0o700)
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    (tmp_path / "rnnexp-numba-12345").mkdir(mode=0o700)
    assert numba_compiler.private_temporary_folder() is None
