"""Saves a report of an unexpected exception."""

import importlib.metadata
import platform
import sys
import tempfile
import time
import traceback
from pathlib import Path

from rnnexp.addresses import one_line, redact
from rnnexp.home import Home

_PACKAGES = ("rnnexp", "tensorflow", "keras", "optuna", "mlflow", "pandas", "numpy")


def report(error: BaseException, home: str | None) -> str:
    """Saves the traceback and the versions of the packages.

    Args:
        error: the unexpected exception.
        home: the home folder; if it is missing, the report is saved in the system's temporary folder.

    Returns:
        A message of one line with the exception and the path of the report.
    """
    folder = Home.at(home).logs if home and Home.at(home).root.is_dir() else Path(tempfile.gettempdir())
    path = folder / time.strftime("rnnexp-bug-%Y%m%d-%H%M%S.log")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(_text(error), encoding="utf-8")
        where = f"the details are in {path}"
    except OSError as write_error:
        where = f"the details could not be saved ({write_error.strerror})"
    return f"a bug in rnnexp: {type(error).__name__}: {one_line(error, 200)}; {where}"


def _text(error: BaseException) -> str:
    lines = [f"command: {' '.join(sys.argv)}", f"python: {sys.version}", f"platform: {platform.platform()}"]
    for package in _PACKAGES:
        try:
            lines.append(f"{package}: {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            lines.append(f"{package}: not installed")
    return redact("\n".join([*lines, "", *traceback.format_exception(error)]))
