"""Writes this package as a wheel, which a logged model carries: no package index has it.

The wheel names no dependencies: the model's requirements list the few that a prediction needs.
"""

import base64
import hashlib
import zipfile
from pathlib import Path

import rnnexp

_TIME = (2020, 1, 1, 0, 0, 0)
_TAG = "py3-none-any"


def write(folder: Path) -> Path:
    """Writes the wheel into a folder; the same code gives the same bytes.

    Returns:
        The file.
    """
    package, info = Path(rnnexp.__file__).parent, f"rnnexp-{rnnexp.__version__}.dist-info"
    files = {
        f"{package.name}/{path.relative_to(package).as_posix()}": path.read_bytes()
        for path in sorted(package.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: rnnexp\nVersion: {rnnexp.__version__}\n".encode()
    files[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: rnnexp\nRoot-Is-Purelib: true\nTag: {_TAG}\n".encode()
    record = "".join(f"{name},sha256={_digest(content)},{len(content)}\n" for name, content in files.items())
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    to = folder / f"rnnexp-{rnnexp.__version__}-{_TAG}.whl"
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, _TIME), content, zipfile.ZIP_DEFLATED)
    return to


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
