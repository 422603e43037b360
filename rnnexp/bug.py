"""Saves a report of an unexpected exception.

The report is meant to be sent to others, so it holds nothing of the user's texts: no values of the command line, and no
messages of exceptions, which often quote their input. The message is printed only.
"""

import importlib.metadata
import os
import platform
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from rnnexp.addresses import one_line, redact
from rnnexp.disk import chain
from rnnexp.home import Home

_PACKAGES = ("rnnexp", "tensorflow", "keras", "optuna", "mlflow", "pandas", "numpy")
_OPTION = re.compile(r"(--?[a-z][a-z-]*)(=.*)?", re.DOTALL)


def report(error: BaseException, home: str | None) -> str:
    """Saves where the exception was raised and the versions of the packages, in a new file that only the user can read.

    Args:
        error: the unexpected exception.
        home: the home folder; if it is missing, the report is saved in the system's temporary folder.

    Returns:
        A message of one line with the exception and the path of the report.
    """
    folder = Home.at(home).logs if home and Home.at(home).root.is_dir() else Path(tempfile.gettempdir())
    prefix = time.strftime("rnnexp-bug-%Y%m%d-%H%M%S-")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A new file with a random name: it follows no link, and nobody else can have created it.
        descriptor, path = tempfile.mkstemp(prefix=prefix, suffix=".log", dir=folder)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(_text(error, sys.argv))
        where = f"the details are in {path}"
    except OSError as write_error:
        where = f"the details could not be saved ({write_error.strerror})"
    return f"a bug in rnnexp: {type(error).__name__}: {one_line(error, 200)}; {where}"


def _text(error: BaseException, argv: Sequence[str]) -> str:
    lines = [f"command: {_command(argv)}", f"python: {sys.version}", f"platform: {platform.platform()}"]
    for package in _PACKAGES:
        try:
            lines.append(f"{package}: {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            lines.append(f"{package}: not installed")
    return redact("\n".join([*lines, "", *(_place(each) for each in chain(error))]))


def _command(argv: Sequence[str]) -> str:
    """Returns the program, the verb and the names of the options; not their values, and not the other arguments."""
    words = list(argv[2:])
    options = [match[1] for word in words[: (*words, "--").index("--")] if (match := _OPTION.fullmatch(word))]
    return " ".join([Path(argv[0]).name if argv else "", *argv[1:2], *options])


def _place(error: BaseException) -> str:
    """Returns where an exception was raised. Of its message only the operating system's words are kept."""
    reason = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
    frames = "".join(traceback.format_tb(error.__traceback__))
    name = f"{type(error).__module__}.{type(error).__qualname__}"
    return f"{name}{reason}\nTraceback, without the message of the exception:\n{frames}"
