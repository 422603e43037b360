"""Identifies a process beyond its id: another machine, another container, and a later process may use the same id."""

import contextlib
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True)
class ProcessIdentity:
    """What distinguishes a process from all others with the same id; an empty string where the system does not tell it.

    Attributes:
        host: the name of its machine.
        boot: changes with each start of the machine; only Linux tells it.
        namespace: of process ids; each container has its own; only Linux has them.
        started: when it started, in units of the system.
    """

    host: str = ""
    boot: str = ""
    namespace: str = ""
    started: str = ""


def identity(pid: int) -> ProcessIdentity | None:
    """Returns the identity of the process that has an id here, or None if there is no such process."""
    started = _started(pid)
    if started is None:
        return None
    boot = namespace = ""
    with contextlib.suppress(OSError):
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        namespace = str((_PROC / "self/ns/pid").readlink())  # ids are those of the namespace of the reader
    return ProcessIdentity(socket.gethostname(), boot, namespace, started)


def _started(pid: int) -> str | None:
    if sys.platform == "linux":
        try:
            # The name of the program may contain spaces and parentheses; the start is the 20th field after it.
            return (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()[19]
        except (OSError, IndexError):
            return None
    import psutil

    try:
        return f"{psutil.Process(pid).create_time():.2f}"
    except psutil.Error:
        return None
