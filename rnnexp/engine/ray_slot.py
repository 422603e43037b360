"""The Ray actor of a slot: one long-lived process on a node, which runs trials as the local executor does."""

import contextlib
import os
import platform
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from rnnexp import __version__, process_identity
from rnnexp.engine import start_method
from rnnexp.engine.exchange import Command, Reply
from rnnexp.engine.executor import Executor
from rnnexp.engine.local import LocalExecutor
from rnnexp.engine.node_cache import NodeCache
from rnnexp.engine.slot_server import SlotServer

_ROOT = "RNNEXP_NODE_DIR"
"""The environment variable that names the folder of a node; the default is in the folder for temporary files."""


_PARENT_POLL_S = 1.0


def versions() -> tuple[str, str]:
    """Returns what must be the same on every machine of a study: the versions of this program and of Python."""
    return __version__, platform.python_version()


class RaySlot:
    """A slot. Ray calls `exchange` from several threads."""

    def __init__(self, cpus: int, expected: tuple[str, str]) -> None:
        """Args:
        cpus: the threads of its trials.
        expected: the versions on the supervisor's machine.
        """
        if versions() != expected:
            names = [f"rnnexp {program} with Python {python}" for program, python in (versions(), expected)]
            raise RuntimeError(f"{platform.node()} has {names[0]}, the supervisor's machine has {names[1]}")
        _forget_main_module()
        threading.Thread(target=_end_with_parent, args=(os.getppid(),), name="parent", daemon=True).start()
        root = node_folder()
        _remove_ended_slots(root / "slots")
        folder = root / "slots" / f"{os.getpid()}-{_started(os.getpid())}"
        start_method.warm_up()

        def executor(wake: int) -> Executor:
            return LocalExecutor(1, signals=wake, cores=cpus)

        self._server = SlotServer(folder, NodeCache(root / "cache"), _fetch, executor)

    def exchange(self, commands: tuple[Command, ...], confirmed: int, wait_s: float) -> Reply:
        """See `SlotServer.exchange`."""
        return self._server.exchange(commands, confirmed, wait_s)


def node_folder() -> Path:
    """Returns the folder of this node, which all slots of a user share."""
    default = Path(tempfile.gettempdir()) / f"rnnexp-node-{os.getuid()}"
    root = Path(os.environ.get(_ROOT, default))
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    return root


def _end_with_parent(parent: int) -> None:
    """Ends this process when Ray's process on the node, its parent, has ended. Its trial then ends itself.

    Ray ends its processes on a node that comes back after it was given up, but not the actors.
    """
    while os.getppid() == parent:
        time.sleep(_PARENT_POLL_S)
    os._exit(1)


def _fetch(reference: Any) -> bytes:
    import ray

    content: bytes = ray.get(reference)
    return content


def _forget_main_module() -> None:
    """Removes the path of the program that started this process: the processes of trials would run it first."""
    with contextlib.suppress(AttributeError):
        del sys.modules["__main__"].__file__


def _started(pid: int) -> str:
    found = process_identity.identity(pid)
    return found.started if found is not None else ""


def _remove_ended_slots(folder: Path) -> None:
    """Removes the folders of slots whose process was killed."""
    for path in folder.glob("*-*"):
        pid, _, started = path.name.partition("-")
        if pid.isdigit() and _started(int(pid)) != started:
            shutil.rmtree(path, ignore_errors=True)
